import type { LocalMessage } from '../wire/codec-local.js';
import { clean } from './answers.js';
import { SkeinError } from './errors.js';
import type { AgentLink } from './link.js';
import type { SkeinEvent } from './types.js';

const SUBSCRIBE_TIMEOUT_MS = 15_000;
/** Events that nobody has taken yet. */
const MOST_WAITING = 10_000;

/** Subscribes, again after each restart of the agent, and gives the events as they come. */
export async function* eventsOf(
  link: AgentLink,
  { signal }: { readonly signal?: AbortSignal | undefined },
): AsyncGenerator<SkeinEvent, void, undefined> {
  const queue = new Queue();
  const subscribe = async (): Promise<void> => {
    await link.request('events', {}, { timeoutMs: SUBSCRIBE_TIMEOUT_MS, repeat: true, signal });
  };
  const stopListening = link.listen({
    event: (message) => queue.put(message),
    up: () => {
      subscribe().catch((error: unknown) => queue.end(asError(error)));
    },
    closed: (error) => queue.end(error),
  });
  const abort = (): void => queue.end(null);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await subscribe();
    for (let message = await queue.take(); message !== null; message = await queue.take()) {
      const event = message['event'];
      yield { ...clean(message), event: typeof event === 'string' ? event : message.t };
    }
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  } finally {
    stopListening();
    signal?.removeEventListener('abort', abort);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

class Queue {
  private readonly waiting: LocalMessage[] = [];
  /** Undefined: goes on; null: ended; else what went wrong. */
  private ending: Error | null | undefined;
  private wake: () => void = () => undefined;

  put(message: LocalMessage): void {
    if (this.waiting.length >= MOST_WAITING)
      this.end(new SkeinError('overflow', 'events came faster than they were taken'));
    else this.waiting.push(message);
    this.wake();
  }

  end(ending: Error | null): void {
    if (this.ending === undefined) this.ending = ending;
    this.wake();
  }

  async take(): Promise<LocalMessage | null> {
    while (this.waiting.length === 0) {
      if (this.ending === null) return null;
      if (this.ending !== undefined) throw this.ending;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    return this.waiting.shift() ?? null;
  }
}
