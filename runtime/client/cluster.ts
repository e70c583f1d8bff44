import { eventsOf } from './events.js';
import { readLogs, readMove, readNodes, readStatus, readTasks, readWhy } from './answers.js';
import type { AgentLink, RequestOptions } from './link.js';
import type { Logs, MoveResult, NodeInfo, SkeinEvent, TaskInfo, Why } from './types.js';

const ANSWER_TIMEOUT_MS = 15_000;
/** A large task over a slow network. */
const MOVE_TIMEOUT_MS = 3_600_000;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A cluster, seen from one of its nodes. Every method throws SkeinError and its kin. */
export class Cluster {
  constructor(private readonly link: AgentLink) {}

  /** Every node of the map, by number. */
  async nodes(options: CallOptions = {}): Promise<NodeInfo[]> {
    return readNodes(await this.link.request('nodes', {}, quick(options)));
  }

  /** The tasks that this user may see; ended ones only with `all`. */
  async tasks(options: CallOptions & { readonly all?: boolean } = {}): Promise<TaskInfo[]> {
    return readTasks(await this.link.request('ps', { all: options.all ?? false }, quick(options)));
  }

  /** Moves a running task; resolves when it runs there. */
  async migrate(
    task: string,
    node: number | 'home' | 'best',
    options: CallOptions & { readonly postCopy?: boolean } = {},
  ): Promise<MoveResult> {
    const fields = {
      task,
      node: String(node),
      ...(options.postCopy === true ? { mode: 'post-copy' } : {}),
    };
    return readMove(
      await this.link.request('migrate', fields, {
        timeoutMs: MOVE_TIMEOUT_MS,
        repeat: false,
        signal: options.signal,
      }),
    );
  }

  /** Whether it could be moved now, and what the balancer last thought of it. */
  async why(task: string, options: CallOptions = {}): Promise<Why> {
    return readWhy(await this.link.request('why', { task }, quick(options)));
  }

  /** Sends a signal, by number. */
  async kill(task: string, signo: number, options: CallOptions = {}): Promise<void> {
    await this.link.request('kill', { task, signo }, { ...quick(options), repeat: false });
  }

  /** Resolves, when the task has ended, with its exit status as a shell gives it. */
  async wait(task: string, options: CallOptions = {}): Promise<number> {
    const request: RequestOptions = { timeoutMs: null, repeat: true, signal: options.signal };
    return readStatus(await this.link.request('wait', { task }, request));
  }

  /** Where a detached task's output goes. */
  async logs(task: string, options: CallOptions = {}): Promise<Logs> {
    return readLogs(await this.link.request('logs', { task }, quick(options)));
  }

  /** What happens in the cluster from now on. Ends with the signal; fails when the agent is gone for good. */
  events(options: CallOptions = {}): AsyncGenerator<SkeinEvent, void, undefined> {
    return eventsOf(this.link, options);
  }

  /** Ends the connection; what is still asked fails. */
  close(): void {
    this.link.close();
  }
}

function quick({ signal }: CallOptions): RequestOptions {
  return { timeoutMs: ANSWER_TIMEOUT_MS, repeat: true, signal };
}
