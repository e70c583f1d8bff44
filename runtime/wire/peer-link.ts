/*
 * The connection that was dialled to one peer: what we ask, its answers, our events.
 *
 * Theory of operation. See peers.ts for the session. Without one requests wait, for as long as who asks does, and events
 * are dropped. When the connection is lost, or the peer no longer knows the session, all that was asked fails.
 */
import { randomBytes } from 'node:crypto';
import { AgentError } from '../base/errors.js';
import { decodeLocal, encodeLocal, type LocalMessage } from './codec-local.js';
import { PendingRequests, type AskOptions } from './pending.js';
import { NO_SESSION, open, seal, SESSION_BYTES, type Sealed } from './seal.js';
import { dial, type CurveIdentity, type Dialled, type PeerContext } from './transport-peers.js';

export interface PeerAddress {
  readonly address: string;
  readonly port: number;
  readonly publicKey: string;
}

const MOST_PENDING = 10_000;
const MOST_QUEUED = 256;
const HELLO_RETRY_MS = 1_000;

/** The connection that was dialled to one peer. */
export class PeerLink {
  private readonly socket: Dialled;
  private readonly pending = new PendingRequests(MOST_PENDING, (what) => this.deaf(` ("${what}")`));
  /** Requests that wait for a session. */
  private readonly queue = new Map<number, Buffer>();
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
    context: PeerContext,
    identity: CurveIdentity,
    private readonly complain: (problem: string) => void,
  ) {
    this.socket = dial(context, `tcp://${address}:${port}`, identity, publicKey, {
      connected: () => this.sayHello(),
      disconnected: () => this.wentDown('went away'),
      received: (frame) => this.heard(frame),
    });
  }

  event(encoded: Buffer): void {
    // News that can't be told now is no news later.
    if (this.listener !== null) this.send(encoded);
  }

  async request(body: LocalMessage, ask: AskOptions): Promise<LocalMessage> {
    let id = 0;
    try {
      return await this.pending.ask(body.t, ask, (fresh) => {
        id = fresh;
        const encoded = encodeLocal({ ...body, id });
        if (this.listener !== null) this.send(encoded);
        else if (this.queue.size < MOST_QUEUED) this.queue.set(id, encoded);
        else throw this.deaf();
      });
    } finally {
      // What was given up must not be done when the node comes back.
      this.queue.delete(id);
    }
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.helloTimer);
    this.pending.failAll(new AgentError('failed', 'the agent ends'));
    this.socket.close();
  }

  private deaf(detail = ''): AgentError {
    return new AgentError('dead-node', `node ${this.peer} does not answer${detail}`);
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
    this.queue.clear();
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
    const waiting = [...this.queue.values()];
    this.queue.clear();
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
