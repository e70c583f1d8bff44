/*
 * What the agent says to the programs of its own machine, and hears from them (docs/protocol.md, section 3).
 *
 * Theory of operation. A peer is a routing id that has said hello and shown who it is: by a token that it got from
 * skeind, or by a file that it made on request, whose owner the kernel vouches for (proof.ts). Natives announce each
 * second and are gone when they are silent; a client says nothing while it waits, so it is kept until something can't
 * be delivered to it any more, or there are too many.
 */
import { join } from 'node:path';
import { monotonicMs, wallMs } from '../base/clock.js';
import { AgentError, messageOf } from '../base/errors.js';
import {
  MOST_LOCAL_PEERS,
  MOST_LOCAL_PEERS_OF_USER,
  MOST_REQUESTS,
  MOST_REQUESTS_OF_LOCAL_PEER,
  MOST_UNPROVED,
  NATIVE_SILENCE_MS,
} from '../base/limits.js';
import { decodeLocal, encodeLocal, type LocalMessage } from './codec-local.js';
import { rateLimited, type Log } from './log.js';
import { errorAnswer, PendingRequests, type AskOptions } from './pending.js';
import { integer, matching, object, oneOf, optional, text } from '../base/schema.js';
import { ProofFolder, type AskedProof } from './proof.js';
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
  /**
   * A native that has been silent for too long, a client that can't be reached, or one that has said hello anew under
   * another routing id: then after the onHello of that.
   */
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

type Hello = ReturnType<typeof readHello>;

interface Known {
  readonly route: Buffer;
  /** Null until it has shown who it is. */
  peer: LocalPeer | null;
  readonly claims: Hello;
  /** The file that it is to make. */
  proof: AskedProof | null;
  heardMs: number;
  silentAllowed: boolean;
  /** Requests of it that have no answer yet. */
  served: number;
}

const SWEEP_MS = 1_000;
/** A sweep later than this finds that it was the agent that stood still, not the others. */
const SWEEP_LATE_MS = 3_000;
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
  private readonly proofs: ProofFolder;
  private readonly complain: (problem: string) => void;
  private listener: LocalListener | undefined;
  private sweeper: NodeJS.Timeout | undefined;
  private sweptMs = monotonicMs();

  constructor(private readonly options: LocalServerOptions) {
    this.proofs = new ProofFolder(join(options.statePath, 'proof'), wallMs);
    const mayComplain = rateLimited(20, 60_000, monotonicMs);
    this.complain = (problem) => {
      if (mayComplain()) options.log.warn({ problem }, 'dropped a message of a local program');
    };
  }

  async start(): Promise<void> {
    await this.proofs.prepare();
    this.listener = await listenLocally(join(this.options.statePath, 'agent.sock'), {
      received: (route, frames) => this.heard(route, frames),
      unreachable: (route) => this.unreachable(route),
    });
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
    if (known !== undefined) known.heardMs = monotonicMs();
    if (message.t === 'hello') this.hello(key, route, message);
    else if (known === undefined) this.send(route, { t: 'who' });
    else if (known.peer === null) void this.prove(key, known, message);
    else this.dispatch(known, known.peer, message);
  }

  private dispatch(known: Known, peer: LocalPeer, message: LocalMessage): void {
    if (message.re !== undefined) this.pending.answered(message);
    else if (message.id === undefined) this.guard(message.t, () => this.options.onEvent(peer, message));
    else void this.serve(known, peer, message, message.id);
  }

  /** A fault of ours must not end the hearing of all others. */
  private guard(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.options.log.error({ problem: messageOf(error), what }, 'what a local program said failed here');
    }
  }

  private async serve(known: Known, peer: LocalPeer, message: LocalMessage, id: number): Promise<void> {
    if (known.served >= MOST_REQUESTS_OF_LOCAL_PEER) {
      this.send(known.route, errorAnswer(id, new AgentError('busy', 'too many requests at once')));
      return;
    }
    known.served++;
    let answer: LocalMessage;
    try {
      answer = { ...(await this.options.onRequest(peer, message)), t: 'ok', re: id };
    } catch (error) {
      answer = errorAnswer(id, error);
    }
    known.served--;
    this.send(known.route, answer);
  }

  private hello(key: string, route: Buffer, message: LocalMessage): void {
    const { id } = message;
    if (id === undefined) {
      this.complain('a hello that is no request');
      return;
    }
    try {
      this.greet(key, route, readHello(message, ''), id);
    } catch (error) {
      const problem = error instanceof AgentError ? error : new AgentError('bad-request', messageOf(error));
      this.send(route, errorAnswer(id, problem));
    }
  }

  private greet(key: string, route: Buffer, claims: Hello, id: number): void {
    const before = this.known.get(key);
    if (before !== undefined && before.peer !== null && isSame(before.claims, claims)) {
      // Its hello was answered too late for it, no more.
      this.accept(before, before.peer, id);
      return;
    }
    if (before === undefined) this.makeRoom(claims);
    const known: Known = {
      route,
      peer: null,
      claims,
      proof: null,
      heardMs: monotonicMs(),
      silentAllowed: false,
      served: 0,
    };
    if (claims.token === null) {
      known.proof = this.proofs.ask();
      this.replace(key, known);
      this.send(route, { ...this.greeting(id), proof: known.proof.path });
      return;
    }
    const who = this.options.identify(claims.token);
    if (who?.role !== claims.role || (claims.task !== null && claims.task !== who.task))
      throw new AgentError('denied', 'this token is none of mine');
    this.replace(key, known);
    this.accept(known, { ...claims, key, uid: who.uid, task: who.task }, id);
  }

  private replace(key: string, known: Known): void {
    const before = this.known.get(key);
    if (before !== undefined) this.forget(before);
    this.known.set(key, known);
  }

  private greeting(id: number): LocalMessage {
    return { t: 'ok', re: id, node: this.options.node, address: this.options.address };
  }

  private accept(known: Known, peer: LocalPeer, id: number): void {
    const isNew = known.peer !== peer;
    known.peer = peer;
    let extra: Readonly<Record<string, unknown>> = {};
    this.guard('hello', () => {
      if (isNew) this.options.onHello(peer);
      extra = this.options.helloExtra(peer);
    });
    this.send(known.route, { ...extra, ...this.greeting(id) });
    for (const other of [...this.known.values()])
      if (peer.token !== null && other !== known && other.peer?.token === peer.token) this.forget(other);
  }

  private async prove(key: string, known: Known, message: LocalMessage): Promise<void> {
    const { id } = message;
    const { proof } = known;
    if (message.t !== 'prove' || id === undefined || proof === null) {
      // An answer or an announcement of before: it has yet to show who it is.
      this.send(known.route, { t: 'who' });
      return;
    }
    known.proof = null;
    try {
      await this.proofs.check(proof, known.claims.uid);
      if (this.known.get(key) === known) this.accept(known, { ...known.claims, key, token: null }, id);
    } catch (error) {
      this.send(known.route, errorAnswer(id, error));
      if (this.known.get(key) === known) this.known.delete(key);
    }
  }

  private forget(known: Known): void {
    this.known.delete(known.route.toString('hex'));
    const { peer } = known;
    if (peer !== null) this.guard('gone', () => this.options.onGone(peer));
  }

  private unreachable(route: Buffer): void {
    const known = this.known.get(route.toString('hex'));
    // A native that has only lost its connection comes back, and has its own time for that.
    if (known !== undefined && known.peer?.role !== 'deputy' && known.peer?.role !== 'shepherd')
      this.forget(known);
  }

  private sweep(): void {
    const now = monotonicMs();
    const lateMs = now - this.sweptMs - SWEEP_MS;
    this.sweptMs = now;
    for (const known of [...this.known.values()]) {
      if (lateMs > SWEEP_LATE_MS) known.heardMs = Math.min(now, known.heardMs + lateMs);
      const isClient = known.peer?.role === 'client';
      if (!isClient && !known.silentAllowed && now - known.heardMs > NATIVE_SILENCE_MS) this.forget(known);
    }
  }

  /** One user must not keep the others out, nor those who have not shown who they are anyone. */
  private makeRoom(claims: Hello): void {
    const all = [...this.known.values()];
    const unproved = all.filter((known) => known.peer === null);
    // In order of their hellos, as a Map is.
    if (unproved.length >= MOST_UNPROVED && unproved[0] !== undefined) this.forget(unproved[0]);
    const ofUser = all.filter((known) => known.peer !== null && known.claims.uid === claims.uid);
    const isFull = this.known.size >= MOST_LOCAL_PEERS;
    if (ofUser.length < MOST_LOCAL_PEERS_OF_USER && !isFull) return;
    const now = monotonicMs();
    const idle = (isFull ? all : ofUser)
      .filter((known) => known.peer?.role === 'client' && now - known.heardMs > CLIENT_IDLE_MS)
      .sort((one, other) => one.heardMs - other.heardMs)[0];
    if (idle === undefined) throw new AgentError('busy', 'the agent has too many connections');
    this.forget(idle);
  }
}

function isSame(one: Hello, other: Hello): boolean {
  return (
    one.role === other.role &&
    one.uid === other.uid &&
    one.pid === other.pid &&
    one.task === other.task &&
    one.token === other.token
  );
}
