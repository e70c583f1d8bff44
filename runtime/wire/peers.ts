/*
 * The control plane between agents: requests and events to other nodes, authenticated by pair.
 *
 * Theory of operation. Each agent dials each other one when it first has something to say, and asks over its own
 * connection; answers come back the same way. After a connection stands the dialler says hello with a random number;
 * the listener challenges it with one of its own; every message that follows names both, counts up, and is sealed
 * (seal.ts). A listener that was restarted knows no sessions and says so: then hello is said again. What was asked
 * before fails, since nobody can tell whether it was done.
 */
import { randomBytes } from 'node:crypto';
import { AgentError, messageOf } from '../base/errors.js';
import { decodeLocal, encodeLocal, LOCAL_MAX_BYTES, type LocalMessage } from './codec-local.js';
import { publicKeyBytes, sharedSecret } from './curve-key.js';
import { rateLimited, type Log } from './log.js';
import { errorAnswer, PendingRequests, type AskOptions } from './pending.js';
import { ENVELOPE_BYTES, NO_SESSION, open, seal, sealKey, SESSION_BYTES, type Sealed } from './seal.js';
import {
  dial,
  listen,
  openDoor,
  type CurveIdentity,
  type Dialled,
  type Listener,
} from './transport-peers.js';

export type Body = LocalMessage;

export interface PeerAddress {
  readonly address: string;
  readonly port: number;
  readonly publicKey: string;
}

export interface PeersOptions {
  readonly node: number;
  readonly address: string;
  readonly port: number;
  readonly secretKey: string;
  readonly publicKey: string;
  /** Every other node of the map. */
  readonly peers: ReadonlyMap<number, PeerAddress>;
  readonly onEvent: (from: number, body: Body) => void;
  readonly onRequest: (from: number, body: Body) => Promise<Readonly<Record<string, unknown>>>;
  readonly log: Log;
}

export interface Peers {
  /** Dropped when it can't be sent now. */
  event(to: number, body: Body): void;
  /** @throws AgentError: `dead-node` when the node can't be reached or went away, else what the peer answered. */
  request(to: number, body: Body, options: AskOptions): Promise<Body>;
  close(): Promise<void>;
}

const MOST_BYTES = LOCAL_MAX_BYTES + ENVELOPE_BYTES;
const MOST_PENDING = 10_000;
/** Messages that wait for a session. */
const MOST_QUEUED = 256;
/** Sessions a listener remembers for each peer: an agent has one, a moment after a reconnection two. */
const SESSIONS_KEPT = 4;
const HELLO_RETRY_MS = 2_000;

/** @throws when the port can't be bound. */
export async function openPeers(options: PeersOptions): Promise<Peers> {
  const peers = new PeerNetwork(options);
  await peers.start();
  return peers;
}

class PeerNetwork implements Peers {
  private readonly keys = new Map<number, Buffer>();
  private readonly allowed = new Set<string>();
  private readonly links = new Map<number, Link>();
  private readonly sessions = new Map<string, ListenerSession>();
  private readonly complain: (problem: string) => void;
  private readonly identity: CurveIdentity;
  private listener: Listener | undefined;
  private door: { close(): void } | undefined;

  constructor(private readonly options: PeersOptions) {
    this.identity = { publicKey: options.publicKey, secretKey: options.secretKey };
    const mayComplain = rateLimited(20, 60_000, () => performance.now());
    this.complain = (problem) => {
      if (mayComplain()) options.log.warn({ problem }, 'dropped a message between agents');
    };
    for (const [node, peer] of options.peers) {
      this.keys.set(node, sealKey(sharedSecret(options.secretKey, peer.publicKey)));
      this.allowed.add(publicKeyBytes(peer.publicKey).toString('hex'));
    }
  }

  async start(): Promise<void> {
    const { address, port } = this.options;
    this.door = await openDoor(
      (key) => this.allowed.has(key.toString('hex')),
      (from) => this.complain(`${from} has a key that is not in the map`),
    );
    try {
      this.listener = await listen(`tcp://${address}:${port}`, this.identity, MOST_BYTES, (route, frame) =>
        this.heard(route, frame),
      );
    } catch (error) {
      this.door.close();
      throw error;
    }
  }

  event(to: number, body: Body): void {
    try {
      this.link(to).event(encodeLocal(body));
    } catch (error) {
      this.complain(`an event for node ${to}: ${messageOf(error)}`);
    }
  }

  async request(to: number, body: Body, ask: AskOptions): Promise<Body> {
    return this.link(to).request(body, ask);
  }

  close(): Promise<void> {
    for (const link of this.links.values()) link.close();
    this.listener?.close();
    this.door?.close();
    return Promise.resolve();
  }

  private link(to: number): Link {
    let link = this.links.get(to);
    if (link !== undefined) return link;
    const peer = this.options.peers.get(to);
    const key = this.keys.get(to);
    if (peer === undefined || key === undefined)
      throw new AgentError('unknown-node', `no node ${to} in the map`);
    link = new Link(this.options.node, to, key, peer, this.identity, this.complain);
    this.links.set(to, link);
    return link;
  }

  private heard(route: Buffer, frame: Buffer): void {
    const message = open(frame, this.options.node, (node) => this.keys.get(node));
    if (typeof message === 'string') this.complain(message);
    else if (message.kind === 'hello') this.challenge(route, message);
    else if (message.kind === 'data') this.data(route, message);
    else this.complain(`a ${message.kind} from node ${message.from}, where only hello and data belong`);
  }

  private answer(route: Buffer, to: number, fields: Omit<Sealed, 'from' | 'to'>): void {
    const key = this.keys.get(to);
    if (key !== undefined) this.listener?.send(route, seal(key, { ...fields, from: this.options.node, to }));
  }

  private challenge(route: Buffer, { from, dialler }: Sealed): void {
    const listener = randomBytes(SESSION_BYTES);
    const ofPeer = [...this.sessions].filter(([, session]) => session.peer === from);
    for (const [name] of ofPeer.slice(0, Math.max(0, ofPeer.length - SESSIONS_KEPT + 1)))
      this.sessions.delete(name);
    this.sessions.set(listener.toString('hex'), { peer: from, dialler, received: 0, sent: 0 });
    this.answer(route, from, { kind: 'challenge', dialler, listener, counter: 0, body: Buffer.alloc(0) });
  }

  private data(route: Buffer, message: Sealed): void {
    const { from, dialler, listener, counter } = message;
    const session = this.sessions.get(listener.toString('hex'));
    if (session === undefined || session.peer !== from || !session.dialler.equals(dialler)) {
      this.answer(route, from, {
        kind: 'unknown-session',
        dialler,
        listener,
        counter: 0,
        body: Buffer.alloc(0),
      });
      return;
    }
    if (counter <= session.received) {
      this.complain(`message ${counter} of node ${from} came again`);
      return;
    }
    session.received = counter;
    const body = decodeLocal(message.body);
    if (typeof body === 'string') {
      this.complain(`from node ${from}: ${body}`);
      return;
    }
    if (body.id === undefined) {
      this.options.onEvent(from, body);
      return;
    }
    void this.serve(route, session, message, body, body.id);
  }

  private async serve(
    route: Buffer,
    session: ListenerSession,
    { from, dialler, listener }: Sealed,
    body: Body,
    id: number,
  ): Promise<void> {
    let reply: LocalMessage;
    try {
      reply = { ...(await this.options.onRequest(from, body)), t: 'ok', re: id };
    } catch (error) {
      reply = errorAnswer(id, error);
    }
    let encoded: Buffer;
    try {
      encoded = encodeLocal(reply);
    } catch (error) {
      encoded = encodeLocal(errorAnswer(id, error));
    }
    session.sent++;
    this.answer(route, from, { kind: 'data', dialler, listener, counter: session.sent, body: encoded });
  }
}

interface ListenerSession {
  readonly peer: number;
  readonly dialler: Buffer;
  received: number;
  sent: number;
}

/** The connection that was dialled to one peer. */
class Link {
  private readonly socket: Dialled;
  private readonly pending = new PendingRequests(MOST_PENDING);
  private queue: Buffer[] = [];
  private dialler: Buffer = randomBytes(SESSION_BYTES);
  private listener: Buffer | null = null;
  private sent = 0;
  private received = 0;
  private helloTimer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(
    private readonly self: number,
    private readonly peer: number,
    private readonly key: Buffer,
    { address, port, publicKey }: PeerAddress,
    identity: CurveIdentity,
    private readonly complain: (problem: string) => void,
  ) {
    this.socket = dial(`tcp://${address}:${port}`, identity, publicKey, MOST_BYTES, {
      connected: () => this.sayHello(),
      disconnected: () => this.wentDown('went away'),
      received: (frame) => this.heard(frame),
    });
  }

  event(encoded: Buffer): void {
    // News that can't be told now is no news later.
    if (this.listener !== null) this.send(encoded);
  }

  request(body: Body, ask: AskOptions): Promise<Body> {
    return this.pending
      .ask(body.t, ask, (id) => {
        const encoded = encodeLocal({ ...body, id });
        if (this.listener !== null) this.send(encoded);
        else if (this.queue.length < MOST_QUEUED) this.queue.push(encoded);
        else throw new AgentError('dead-node', `node ${this.peer} does not answer`);
      })
      .catch((error: unknown) => {
        if (error instanceof AgentError && error.code === 'timeout')
          throw new AgentError('dead-node', `node ${this.peer} does not answer ("${body.t}")`);
        throw error;
      });
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.helloTimer);
    this.pending.failAll(new AgentError('failed', 'the agent ends'));
    this.socket.close();
  }

  private send(body: Buffer): void {
    if (this.listener === null) return;
    this.sent++;
    const fields = { kind: 'data', from: this.self, to: this.peer, counter: this.sent, body } as const;
    if (!this.socket.send(seal(this.key, { ...fields, dialler: this.dialler, listener: this.listener })))
      this.wentDown('is not connected');
  }

  private sayHello(): void {
    this.listener = null;
    this.dialler = randomBytes(SESSION_BYTES);
    const fields = {
      kind: 'hello',
      from: this.self,
      to: this.peer,
      counter: 0,
      body: Buffer.alloc(0),
    } as const;
    this.socket.send(seal(this.key, { ...fields, dialler: this.dialler, listener: NO_SESSION }));
    clearTimeout(this.helloTimer);
    // The answer may be dropped by a full queue on the other side.
    this.helloTimer = setTimeout(() => {
      if (this.listener === null && !this.isClosed) this.sayHello();
    }, HELLO_RETRY_MS);
  }

  private wentDown(how: string): void {
    clearTimeout(this.helloTimer);
    this.listener = null;
    this.queue = [];
    this.pending.failAll(new AgentError('dead-node', `node ${this.peer} ${how}`));
  }

  private heard(frame: Buffer): void {
    const message = open(frame, this.self, (node) => (node === this.peer ? this.key : undefined));
    if (typeof message === 'string') {
      this.complain(message);
      return;
    }
    if (!message.dialler.equals(this.dialler)) return; // of a session before this one
    if (message.kind === 'challenge') this.begin(message.listener);
    else if (message.kind === 'unknown-session') {
      if (this.listener !== null) {
        this.wentDown('was restarted');
        this.sayHello();
      }
    } else if (message.kind === 'data') this.data(message);
    else this.complain(`a hello from node ${message.from}, where an answer belongs`);
  }

  private begin(listener: Buffer): void {
    if (this.listener !== null) return;
    clearTimeout(this.helloTimer);
    this.listener = listener;
    this.sent = 0;
    this.received = 0;
    const waiting = this.queue;
    this.queue = [];
    for (const body of waiting) this.send(body);
  }

  private data({ listener, counter, body }: Sealed): void {
    if (this.listener === null || !listener.equals(this.listener)) return;
    if (counter <= this.received) {
      this.complain(`answer ${counter} of node ${this.peer} came again`);
      return;
    }
    this.received = counter;
    const message = decodeLocal(body);
    if (typeof message === 'string') this.complain(`from node ${this.peer}: ${message}`);
    else this.pending.answered(message);
  }
}
