/*
 * What the agent says to the programs of its own machine, and hears from them (docs/protocol.md, section 3).
 *
 * Theory of operation. A peer is a routing id that has said hello and shown who it is: by a token that it got from
 * skeind, or by a file that it made on request, whose owner the kernel vouches for. Natives announce each second and
 * are gone when they are silent; a client says nothing while it waits, so it is kept until there are too many.
 */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, messageOf } from '../base/errors.js';
import { MOST_LOCAL_PEERS, MOST_REQUESTS, NATIVE_SILENCE_MS } from '../base/limits.js';
import { decodeLocal, encodeLocal, type LocalMessage } from './codec-local.js';
import { rateLimited, type Log } from './log.js';
import { errorAnswer, PendingRequests, type AskOptions } from './pending.js';
import { integer, matching, object, oneOf, optional, text } from '../base/schema.js';
import { listenLocally, type LocalListener } from './transport-server.js';

export interface LocalPeer {
  readonly key: string;
  readonly role: 'deputy' | 'shepherd' | 'client';
  readonly uid: number;
  readonly pid: number;
  /** Which skeind started it for. */
  readonly task: string | null;
  readonly token: string | null;
}

export interface Identified {
  readonly role: 'deputy' | 'shepherd';
  readonly uid: number;
  readonly task: string;
}

export interface LocalServerOptions {
  readonly statePath: string;
  readonly node: number;
  readonly address: string;
  /** Who has this token; undefined: nobody. */
  readonly identify: (token: string) => Identified | undefined;
  /** What the answer to its hello says besides. */
  readonly helloExtra: (peer: LocalPeer) => Readonly<Record<string, unknown>>;
  readonly onHello: (peer: LocalPeer) => void;
  readonly onRequest: (peer: LocalPeer, body: LocalMessage) => Promise<Readonly<Record<string, unknown>>>;
  readonly onEvent: (peer: LocalPeer, body: LocalMessage) => void;
  /** A native that has been silent for too long, or said hello anew under another routing id. */
  readonly onGone: (peer: LocalPeer) => void;
  readonly log: Log;
}

export interface LocalServer {
  request(peer: LocalPeer, body: LocalMessage, options: AskOptions): Promise<LocalMessage>;
  event(peer: LocalPeer, body: LocalMessage): void;
  /** A stopped program is silent, but not gone. */
  expectSilence(peer: LocalPeer, silent: boolean): void;
  close(): Promise<void>;
}

const readHello = object({
  role: oneOf('deputy', 'shepherd', 'client'),
  uid: integer(0, 2 ** 32 - 2),
  pid: integer(1, 2 ** 31),
  task: optional(text(64), null),
  token: optional(matching(/^[0-9a-f]{32}$/, 'token'), null),
});

interface Known {
  readonly route: Buffer;
  /** Null until it has shown who it is. */
  peer: LocalPeer | null;
  claims: ReturnType<typeof readHello>;
  proof: string | null;
  heardMs: number;
  silentAllowed: boolean;
}

const SWEEP_MS = 1_000;
/** A client that has been heard long ago makes room for a new one. */
const CLIENT_IDLE_MS = 60_000;

/** @throws when the socket can't be made. */
export async function openLocalServer(options: LocalServerOptions): Promise<LocalServer> {
  const server = new Server(options);
  await server.start();
  return server;
}

class Server implements LocalServer {
  private readonly known = new Map<string, Known>();
  private readonly pending = new PendingRequests(MOST_REQUESTS);
  private readonly proofFolder: string;
  private readonly complain: (problem: string) => void;
  private listener: LocalListener | undefined;
  private sweeper: NodeJS.Timeout | undefined;

  constructor(private readonly options: LocalServerOptions) {
    this.proofFolder = join(options.statePath, 'proof');
    const mayComplain = rateLimited(20, 60_000, () => performance.now());
    this.complain = (problem) => {
      if (mayComplain()) options.log.warn({ problem }, 'dropped a message of a local program');
    };
  }

  async start(): Promise<void> {
    await mkdir(this.proofFolder, { recursive: true });
    await chmod(this.proofFolder, 0o1777);
    for (const name of await readdir(this.proofFolder))
      await rm(join(this.proofFolder, name), { force: true });
    this.listener = await listenLocally(join(this.options.statePath, 'agent.sock'), (route, frames) =>
      this.heard(route, frames),
    );
    this.sweeper = setInterval(() => this.sweep(), SWEEP_MS);
  }

  request(peer: LocalPeer, body: LocalMessage, ask: AskOptions): Promise<LocalMessage> {
    return this.pending.ask(body.t, ask, (id) => {
      const known = this.known.get(peer.key);
      if (known?.peer !== peer) throw new AgentError('not-running', `the ${peer.role} is gone`);
      this.send(known.route, { ...body, id });
    });
  }

  event(peer: LocalPeer, body: LocalMessage): void {
    const known = this.known.get(peer.key);
    if (known?.peer === peer) this.send(known.route, body);
  }

  expectSilence(peer: LocalPeer, silent: boolean): void {
    const known = this.known.get(peer.key);
    if (known?.peer === peer) known.silentAllowed = silent;
  }

  async close(): Promise<void> {
    clearInterval(this.sweeper);
    this.pending.failAll(new AgentError('failed', 'the agent ends'));
    await this.listener?.close();
  }

  private send(route: Buffer, message: LocalMessage): void {
    try {
      this.listener?.send(route, encodeLocal(message));
    } catch (error) {
      this.complain(`what was to be sent: ${messageOf(error)}`);
      if (message.re !== undefined) this.listener?.send(route, encodeLocal(errorAnswer(message.re, error)));
    }
  }

  private heard(route: Buffer, frames: readonly Buffer[]): void {
    const [frame] = frames;
    if (frame === undefined || frames.length !== 1) {
      this.complain('more than one frame');
      return;
    }
    const message = decodeLocal(frame);
    if (typeof message === 'string') {
      this.complain(message);
      return;
    }
    const key = route.toString('hex');
    const known = this.known.get(key);
    if (known !== undefined) known.heardMs = performance.now();
    if (message.t === 'hello') this.hello(key, route, message);
    else if (known === undefined) this.send(route, { t: 'who' });
    else if (known.peer === null) void this.prove(key, known, message);
    else this.dispatch(known, known.peer, message);
  }

  private dispatch(known: Known, peer: LocalPeer, message: LocalMessage): void {
    if (message.re !== undefined) this.pending.answered(message);
    else if (message.id === undefined) this.options.onEvent(peer, message);
    else void this.serve(known, peer, message, message.id);
  }

  private async serve(known: Known, peer: LocalPeer, message: LocalMessage, id: number): Promise<void> {
    let answer: LocalMessage;
    try {
      answer = { ...(await this.options.onRequest(peer, message)), t: 'ok', re: id };
    } catch (error) {
      answer = errorAnswer(id, error);
    }
    this.send(known.route, answer);
  }

  private hello(key: string, route: Buffer, message: LocalMessage): void {
    const { id } = message;
    if (id === undefined) {
      this.complain('a hello that is no request');
      return;
    }
    let claims;
    try {
      claims = readHello(message, '');
    } catch (error) {
      this.send(route, errorAnswer(id, new AgentError('bad-request', messageOf(error))));
      return;
    }
    const known: Known = {
      route,
      peer: null,
      claims,
      proof: null,
      heardMs: performance.now(),
      silentAllowed: false,
    };
    if (!this.known.has(key) && this.known.size >= MOST_LOCAL_PEERS && !this.makeRoom()) {
      this.send(route, errorAnswer(id, new AgentError('busy', 'the agent has too many connections')));
      return;
    }
    this.known.set(key, known);
    if (claims.token === null) {
      known.proof = randomBytes(16).toString('hex');
      this.send(route, { ...this.greeting(id), proof: join(this.proofFolder, known.proof) });
      return;
    }
    const who = this.options.identify(claims.token);
    if (who?.role !== claims.role || (claims.task !== null && claims.task !== who.task)) {
      this.send(route, errorAnswer(id, new AgentError('denied', 'this token is none of mine')));
      this.known.delete(key);
      return;
    }
    this.accept(known, { ...claims, key, uid: who.uid, task: who.task }, id);
  }

  private greeting(id: number): LocalMessage {
    return { t: 'ok', re: id, node: this.options.node, address: this.options.address };
  }

  private accept(known: Known, peer: LocalPeer, id: number): void {
    for (const other of this.known.values())
      if (peer.token !== null && other !== known && other.peer?.token === peer.token) this.forget(other);
    known.peer = peer;
    this.options.onHello(peer);
    this.send(known.route, { ...this.options.helloExtra(peer), ...this.greeting(id) });
  }

  private async prove(key: string, known: Known, message: LocalMessage): Promise<void> {
    const { id } = message;
    const name = known.proof;
    if (message.t !== 'prove' || id === undefined || name === null) {
      // An answer or an announcement of before: it has yet to show who it is.
      this.send(known.route, { t: 'who' });
      return;
    }
    known.proof = null;
    const path = join(this.proofFolder, name);
    try {
      const { uid } = await lstat(path);
      await rm(path, { force: true });
      if (uid !== known.claims.uid)
        throw new AgentError(
          'denied',
          `the file that proves it belongs to uid ${uid}, not ${known.claims.uid}`,
        );
      if (this.known.get(key) === known) this.accept(known, { ...known.claims, key, token: null }, id);
    } catch (error) {
      const problem =
        error instanceof AgentError ? error : new AgentError('denied', `no proof: ${messageOf(error)}`);
      this.send(known.route, errorAnswer(id, problem));
      if (this.known.get(key) === known) this.known.delete(key);
    }
  }

  private forget(known: Known): void {
    for (const [key, one] of this.known) if (one === known) this.known.delete(key);
    if (known.peer !== null) this.options.onGone(known.peer);
  }

  private sweep(): void {
    const now = performance.now();
    for (const known of [...this.known.values()]) {
      const silence = now - known.heardMs;
      const isNative = known.peer !== null && known.peer.role !== 'client';
      if (isNative && !known.silentAllowed && silence > NATIVE_SILENCE_MS) this.forget(known);
      else if (known.peer === null && silence > NATIVE_SILENCE_MS) this.forget(known);
    }
  }

  /** The client that has been silent longest goes, if that is long. */
  private makeRoom(): boolean {
    const now = performance.now();
    const idle = [...this.known.values()]
      .filter((known) => known.peer?.role === 'client' && now - known.heardMs > CLIENT_IDLE_MS)
      .sort((one, other) => one.heardMs - other.heardMs)[0];
    if (idle === undefined) return false;
    this.forget(idle);
    return true;
  }
}
