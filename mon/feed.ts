/*
 * Asks the agent each second what it knows of the nodes. An agent that goes away is looked for until it is
 * back; only one that was never there ends the feed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, SkeinError, TimeoutError, type Cluster, type NodeInfo } from '../runtime/client/index.js';
import { wallMs } from '../runtime/base/clock.js';

export interface FeedHandlers {
  readonly nodes: (nodes: readonly NodeInfo[], atMs: number) => void;
  /** No answer; it goes on trying. */
  readonly trouble: (message: string) => void;
}

interface Answer {
  readonly nodes: readonly NodeInfo[];
  readonly atMs: number;
}

const INTERVAL_MS = 1_000;
/** Asked again on a new connection after that. */
const ANSWER_LIMIT_MS = 3_000;

/** Resolves when the signal ends it. @throws SkeinError if there is no agent to begin with. */
export async function feed(handlers: FeedHandlers, signal: AbortSignal): Promise<void> {
  const asker = new Asker();
  let hasAnswered = false;
  try {
    while (!signal.aborted) {
      const startedAtMs = wallMs();
      try {
        const { nodes, atMs } = await asker.ask(signal);
        hasAnswered = true;
        handlers.nodes(nodes, atMs);
      } catch (error) {
        if (hasEnded(signal)) return;
        if (!hasAnswered || !(error instanceof SkeinError)) throw error;
        asker.close();
        handlers.trouble(error.message);
      }
      await pause(INTERVAL_MS - (wallMs() - startedAtMs), signal);
    }
  } finally {
    asker.close();
  }
}

/** One answer. */
export async function once(): Promise<Answer> {
  const asker = new Asker();
  try {
    return await asker.ask(new AbortController().signal);
  } finally {
    asker.close();
  }
}

/** Connects when there is something to ask. */
class Asker {
  private cluster: Cluster | null = null;

  async ask(signal: AbortSignal): Promise<Answer> {
    this.cluster ??= await connect({ signal });
    const limit = AbortSignal.timeout(ANSWER_LIMIT_MS);
    try {
      const nodes = await this.cluster.nodes({ signal: AbortSignal.any([signal, limit]) });
      return { nodes, atMs: wallMs() };
    } catch (error) {
      if (limit.aborted && !signal.aborted)
        throw new TimeoutError(`the agent has not answered in ${ANSWER_LIMIT_MS / 1000} s`);
      throw error;
    }
  }

  close(): void {
    this.cluster?.close();
    this.cluster = null;
  }
}

/** A call, since the compiler takes a flag for unchanged across an await. */
function hasEnded(signal: AbortSignal): boolean {
  return signal.aborted;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(Math.min(INTERVAL_MS, Math.max(0, ms)), undefined, { signal });
  } catch (error) {
    if (!hasEnded(signal)) throw error;
  }
}
