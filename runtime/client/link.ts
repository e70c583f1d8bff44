/*
 * A conversation with the agent of one node: says hello, proves who we are, asks, and hears events.
 *
 * The agent may be restarted at any time. Then hello is said again; requests that may be asked twice are asked
 * again, the others fail with AgentLostError. Every request has a deadline, except those that wait for a task.
 */
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { decodeLocal, encodeLocal, type LocalMessage } from '../wire/codec-local.js';
import { LONGEST_SOCKET_PATH, openLocalSocket, type LocalSocket } from '../wire/transport-local.js';
import {
  AbortedError,
  AgentLostError,
  NoAgentError,
  RefusedError,
  SkeinError,
  TimeoutError,
} from './errors.js';

export interface RequestOptions {
  /** Null: no deadline. */
  readonly timeoutMs: number | null;
  /** May be asked again after the agent was restarted. */
  readonly repeat: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface LinkListener {
  readonly event: (message: LocalMessage) => void;
  /** The agent is there again after a restart: it remembers nothing of us. */
  readonly up: () => void;
  readonly closed: (error: SkeinError) => void;
}

type Answer = LocalMessage;

interface Pending {
  readonly message: LocalMessage;
  readonly repeat: boolean;
  sent: boolean;
  readonly settle: (result: Answer | SkeinError) => void;
}

/** How long an agent may be gone before what waits for it fails: a restart takes a second or two. */
const AGENT_GONE_LIMIT_MS = 20_000;
const HELLO_TIMEOUT_MS = 5_000;
const MOST_PENDING = 10_000;
const MOST_EARLY_FAILURES = 5;

export class AgentLink {
  private readonly socket: LocalSocket;
  private readonly pending = new Map<number, Pending>();
  private readonly listeners = new Set<LinkListener>();
  private nextId = 1;
  private isUp = false;
  private isClosed = false;
  /** Counts connections: an answer to an old hello is not taken for one to the new. */
  private round = 0;
  private failures = 0;
  private goneTimer: NodeJS.Timeout | undefined;
  private readonly whenReady: { resolve: () => void; reject: (error: SkeinError) => void };
  private readonly ready: Promise<void>;

  private constructor(
    private readonly state: string,
    private readonly limitMs: number,
  ) {
    const path = join(state, 'agent.sock');
    if (Buffer.byteLength(path) > LONGEST_SOCKET_PATH)
      throw new SkeinError(
        'path-too-long',
        `${path}: longer than the ${LONGEST_SOCKET_PATH} bytes a socket may have`,
      );
    const { promise, resolve, reject } = withResolvers();
    this.ready = promise;
    this.whenReady = { resolve, reject };
    this.armGoneTimer();
    this.socket = openLocalSocket(path, {
      connected: () => void this.sayHello(),
      disconnected: () => this.wentDown(),
      frame: (frame) => this.heard(frame),
    });
  }

  /** Resolves when the agent has accepted us. */
  static async open(
    state: string,
    {
      signal,
      timeoutMs = AGENT_GONE_LIMIT_MS,
    }: { signal?: AbortSignal | undefined; timeoutMs?: number | undefined },
  ): Promise<AgentLink> {
    signal?.throwIfAborted();
    const link = new AgentLink(state, timeoutMs);
    const abort = (): void => link.close();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await link.ready;
      return link;
    } catch (error) {
      link.close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Calls back for each event; the returned function ends that. */
  listen(listener: LinkListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async request(type: string, fields: Record<string, unknown>, options: RequestOptions): Promise<Answer> {
    options.signal?.throwIfAborted();
    if (this.isClosed) throw new AbortedError('the connection was closed');
    if (this.pending.size >= MOST_PENDING) throw new SkeinError('too-many', 'too many requests at once');
    const id = this.nextId++;
    const { promise, resolve, reject } = withResolvers<Answer>();
    let timer: NodeJS.Timeout | undefined;
    const settle = (result: Answer | SkeinError): void => {
      this.pending.delete(id);
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      if (result instanceof SkeinError) reject(result);
      else resolve(result);
    };
    const abort = (): void => settle(new AbortedError(`"${type}" was given up`));
    if (options.timeoutMs !== null) {
      const { timeoutMs } = options;
      timer = setTimeout(
        () => settle(new TimeoutError(`the agent has not answered "${type}" in ${timeoutMs / 1000} s`)),
        timeoutMs,
      );
    }
    options.signal?.addEventListener('abort', abort, { once: true });
    const entry: Pending = {
      message: { ...fields, t: type, id },
      repeat: options.repeat,
      sent: false,
      settle,
    };
    this.pending.set(id, entry);
    if (this.isUp) this.send(entry);
    return promise;
  }

  close(): void {
    this.end(new AbortedError('the connection was closed'));
  }

  private send(entry: Pending): void {
    try {
      entry.sent = this.socket.send(encodeLocal(entry.message)) || entry.sent;
    } catch (error) {
      entry.settle(new SkeinError('bad-request', error instanceof Error ? error.message : String(error)));
    }
  }

  private heard(frame: Buffer): void {
    const message = decodeLocal(frame);
    // The agent is trusted as far as shapes go; what is no message at all is passed over.
    if (typeof message === 'string') return;
    if (message.re !== undefined) this.answered(message.re, message);
    else if (message.t === 'who') void this.sayHello();
    else for (const listener of [...this.listeners]) listener.event(message);
  }

  private answered(id: number, message: LocalMessage): void {
    const entry = this.pending.get(id);
    if (entry === undefined) return;
    if (message.t === 'ok') entry.settle(message);
    else {
      const code = typeof message['code'] === 'string' ? message['code'] : 'failed';
      const said =
        typeof message['message'] === 'string' ? message['message'] : `"${entry.message.t}" failed`;
      entry.settle(new RefusedError(code, said));
    }
  }

  /** Hello, and the proof if the agent wants one; then all that waits is sent. */
  private async sayHello(): Promise<void> {
    this.isUp = false;
    const round = ++this.round;
    try {
      const answer = await this.greet('hello', {
        role: 'client',
        uid: process.getuid?.() ?? 0,
        pid: process.pid,
      });
      if (typeof answer['proof'] === 'string') {
        await this.prove(answer['proof']);
        await this.greet('prove', {});
      }
      if (round === this.round && !this.isClosed) this.cameUp();
    } catch (error) {
      if (round !== this.round || this.isClosed) return;
      this.failures++;
      const problem = error instanceof SkeinError ? error : new SkeinError('proof', String(error));
      if (problem instanceof RefusedError || this.failures >= MOST_EARLY_FAILURES) this.end(problem);
      else void this.sayHello();
    }
  }

  private async greet(type: string, fields: Record<string, unknown>): Promise<Answer> {
    const { promise, resolve, reject } = withResolvers<Answer>();
    const id = this.nextId++;
    const timer = setTimeout(() => settle(new TimeoutError('the agent does not answer')), HELLO_TIMEOUT_MS);
    const settle = (result: Answer | SkeinError): void => {
      this.pending.delete(id);
      clearTimeout(timer);
      if (result instanceof SkeinError) reject(result);
      else resolve(result);
    };
    const entry: Pending = { message: { ...fields, t: type, id }, repeat: false, sent: true, settle };
    this.pending.set(id, entry);
    this.send(entry);
    return promise;
  }

  /** Only the last part of the path counts: the agent must not make us create files elsewhere. */
  private async prove(path: string): Promise<void> {
    const proof = join(this.state, 'proof', basename(path));
    const file = await open(proof, 'wx', 0o600);
    await file.close();
  }

  private cameUp(): void {
    this.isUp = true;
    this.failures = 0;
    clearTimeout(this.goneTimer);
    this.goneTimer = undefined;
    for (const entry of [...this.pending.values()]) {
      if (!entry.sent || entry.repeat) this.send(entry);
      else entry.settle(new AgentLostError(entry.message.t));
    }
    this.whenReady.resolve();
    for (const listener of [...this.listeners]) listener.up();
  }

  private wentDown(): void {
    if (this.isClosed) return;
    this.isUp = false;
    this.round++;
    this.armGoneTimer();
    for (const entry of [...this.pending.values()]) {
      if (entry.sent && !entry.repeat) entry.settle(new AgentLostError(entry.message.t));
    }
  }

  private armGoneTimer(): void {
    this.goneTimer ??= setTimeout(() => {
      this.end(
        new NoAgentError(
          `the agent of ${this.state} does not answer; is the node running? (its agent.log says more)`,
        ),
      );
    }, this.limitMs);
  }

  private end(error: SkeinError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.goneTimer);
    this.whenReady.reject(error);
    for (const entry of [...this.pending.values()]) entry.settle(error);
    for (const listener of [...this.listeners]) listener.closed(error);
    this.socket.close();
  }
}

function withResolvers<T = void>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: SkeinError) => void;
} {
  let resolve: ((value: T) => void) | undefined;
  let reject: ((error: SkeinError) => void) | undefined;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Who does not wait for it need not hear of its failure.
  promise.catch(() => undefined);
  if (resolve === undefined || reject === undefined) throw new Error('a promise runs its executor at once');
  return { promise, resolve, reject };
}
