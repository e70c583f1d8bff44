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
import { monotonicMs } from '../base/clock.js';
import { AgentError, messageOf } from '../base/errors.js';
import { decodeLocal, encodeLocal, type LocalMessage } from './codec-local.js';
import { publicKeyBytes, sharedSecret } from './curve-key.js';
import { rateLimited, type Log } from './log.js';
import { PeerLink, type PeerAddress } from './peer-link.js';
import { errorAnswer, type AskOptions } from './pending.js';
import { open, seal, sealKey, SESSION_BYTES, type Sealed } from './seal.js';
import { listen, makePeerContext, openDoor, type CurveIdentity, type Listener } from './transport-peers.js';

export type { PeerAddress };
export type Body = LocalMessage;

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

/** Sessions a listener remembers for each peer: an agent has one, a moment after a reconnection two. */
const SESSIONS_KEPT = 4;

/** @throws when the port can't be bound. */
export async function openPeers(options: PeersOptions): Promise<Peers> {
  const peers = new PeerNetwork(options);
  await peers.start();
  return peers;
}

class PeerNetwork implements Peers {
  private readonly keys = new Map<number, Buffer>();
  private readonly allowed = new Set<string>();
  private readonly links = new Map<number, PeerLink>();
  private readonly sessions = new Map<string, ListenerSession>();
  private readonly complain: (problem: string) => void;
  private readonly identity: CurveIdentity;
  private readonly context = makePeerContext();
  private listener: Listener | undefined;
  private door: { close(): void } | undefined;

  constructor(private readonly options: PeersOptions) {
    this.identity = { publicKey: options.publicKey, secretKey: options.secretKey };
    const mayComplain = rateLimited(20, 60_000, monotonicMs);
    this.complain = (problem) => {
      if (mayComplain()) options.log.warn({ problem }, 'dropped a message between agents');
    };
    for (const [node, peer] of options.peers) {
      try {
        this.keys.set(node, sealKey(sharedSecret(options.secretKey, peer.publicKey)));
        this.allowed.add(publicKeyBytes(peer.publicKey).toString('hex'));
      } catch (error) {
        throw new AgentError('config', `the key of node ${node} in the keys file: ${messageOf(error)}`);
      }
    }
  }

  async start(): Promise<void> {
    const { address, port } = this.options;
    this.door = await openDoor(
      this.context,
      (key) => this.allowed.has(key.toString('hex')),
      (from) => this.complain(`${from} has a key that is not in the map`),
    );
    try {
      this.listener = await listen(this.context, `tcp://${address}:${port}`, this.identity, (route, frame) =>
        this.heard(route, frame),
      );
    } catch (error) {
      this.door.close();
      throw new AgentError(
        'config',
        `can't listen at ${address}, port ${port}: ${messageOf(error)}`,
        {},
        { cause: error },
      );
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

  private link(to: number): PeerLink {
    let link = this.links.get(to);
    if (link !== undefined) return link;
    const peer = this.options.peers.get(to);
    const key = this.keys.get(to);
    if (peer === undefined || key === undefined)
      throw new AgentError('unknown-node', `no node ${to} in the map`);
    link = new PeerLink(this.options.node, to, key, peer, this.context, this.identity, this.complain);
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
      this.tell(from, body);
      return;
    }
    void this.serve(route, session, message, body, body.id);
  }

  /** A fault of ours in one event must not end the hearing of all others. */
  private tell(from: number, body: Body): void {
    try {
      this.options.onEvent(from, body);
    } catch (error) {
      this.options.log.error(
        { error: messageOf(error), from, type: body.t },
        'an event between agents failed here',
      );
    }
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
