/*
 * The sockets between agents: a ROUTER that listens and a DEALER for each peer that is dialled, all with CURVE, and
 * the handler that libzmq asks who may come in (ZAP, rfc.zeromq.org/spec/27).
 */
import { Context, Dealer, Reply, Router } from 'zeromq';
import { LOCAL_MAX_BYTES } from './codec-local.js';
import { ENVELOPE_BYTES } from './seal.js';

export const MOST_PEER_BYTES = LOCAL_MAX_BYTES + ENVELOPE_BYTES;

export interface CurveIdentity {
  readonly publicKey: string;
  readonly secretKey: string;
}

export interface Listener {
  /** Frames that can't be delivered now are dropped. */
  send(route: Buffer, frame: Buffer): void;
  close(): void;
}

export interface Dialled {
  /** False: not connected, the frame was dropped. */
  send(frame: Buffer): boolean;
  close(): void;
}

export interface DialHandlers {
  connected(): void;
  /** What was sent may be lost. */
  disconnected(): void;
  received(frame: Buffer): void;
}

/** Sockets of one agent: libzmq looks for the door within a context. */
export type PeerContext = Context;

export function makePeerContext(): PeerContext {
  return new Context();
}

/* See the traps in DESIGN: a low send high-water mark on a socket that also receives can lose a wake-up. */
const HIGH_WATER = 1000;
const DOMAIN = 'skein';
const KEEP_ALIVE = {
  tcpKeepalive: 1,
  tcpKeepaliveIdle: 10,
  tcpKeepaliveInterval: 5,
  tcpKeepaliveCount: 4,
} as const;
/* A host that was cut off, or an agent that was stopped, is noticed so; what waits for it is dropped. */
const HEART_BEAT = { heartbeatInterval: 5_000, heartbeatTimeout: 15_000 } as const;
const REFUSE_LINGER_MS = 0;

/** Lets in clients whose public key (32 bytes) is allowed. One for each context. */
export async function openDoor(
  context: PeerContext,
  isAllowed: (publicKey: Buffer) => boolean,
  refused: (address: string) => void,
): Promise<{ close(): void }> {
  const door = new Reply({ context, linger: REFUSE_LINGER_MS });
  await door.bind('inproc://zeromq.zap.01');
  void answerAll(door, isAllowed, refused);
  return { close: () => door.close() };
}

async function answerAll(
  door: Reply,
  isAllowed: (publicKey: Buffer) => boolean,
  refused: (address: string) => void,
): Promise<void> {
  for await (const [version, request, domain, address, , mechanism, key] of door) {
    const allowed =
      version?.toString() === '1.0' &&
      domain?.toString() === DOMAIN &&
      mechanism?.toString() === 'CURVE' &&
      key?.length === 32 &&
      isAllowed(key);
    if (!allowed) refused(address?.toString() ?? '');
    const code = allowed ? ['200', 'OK'] : ['400', 'this key is not in the map'];
    await door.send(['1.0', request ?? '', ...code, '', '']);
  }
}

/** @throws when the address can't be bound. */
export async function listen(
  context: PeerContext,
  endpoint: string,
  identity: CurveIdentity,
  received: (route: Buffer, frame: Buffer) => void,
): Promise<Listener> {
  const router = new Router({
    context,
    curveServer: true,
    curveSecretKey: identity.secretKey,
    zapDomain: DOMAIN,
    // Without a door nobody comes in.
    zapEnforceDomain: true,
    maxMessageSize: MOST_PEER_BYTES,
    sendHighWaterMark: HIGH_WATER,
    receiveHighWaterMark: HIGH_WATER,
    sendTimeout: 0,
    linger: 0,
    mandatory: true,
    handshakeInterval: 10_000,
    ...KEEP_ALIVE,
  });
  try {
    await router.bind(endpoint);
  } catch (error) {
    router.close();
    throw error;
  }
  void receiveRouted(router, received);
  return {
    send: (route, frame) => {
      // Gone (EHOSTUNREACH) or full: who asked asks again.
      if (!router.closed) router.send([route, frame]).catch(() => undefined);
    },
    close: () => router.close(),
  };
}

async function receiveRouted(
  router: Router,
  received: (route: Buffer, frame: Buffer) => void,
): Promise<void> {
  for await (const [route, frame, ...more] of router)
    if (route !== undefined && frame !== undefined && more.length === 0) received(route, frame);
}

/** Connects, and connects again whenever the connection was lost, until closed. */
export function dial(
  context: PeerContext,
  endpoint: string,
  identity: CurveIdentity,
  serverKey: string,
  handlers: DialHandlers,
): Dialled {
  let current: Dealer | null = null;
  let isConnected = false;
  const open = (): void => {
    const dealer = new Dealer({
      context,
      curveServerKey: serverKey,
      curvePublicKey: identity.publicKey,
      curveSecretKey: identity.secretKey,
      maxMessageSize: MOST_PEER_BYTES,
      sendHighWaterMark: HIGH_WATER,
      receiveHighWaterMark: HIGH_WATER,
      immediate: true,
      sendTimeout: 0,
      linger: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 1_000,
      connectTimeout: 5_000,
      ...HEART_BEAT,
      ...KEEP_ALIVE,
    });
    current = dealer;
    dealer.events.on('handshake', () => {
      if (current !== dealer) return;
      isConnected = true;
      handlers.connected();
    });
    dealer.events.on('disconnect', () => {
      if (current !== dealer) return;
      isConnected = false;
      handlers.disconnected();
    });
    dealer.connect(endpoint);
    void receiveAll(dealer, (frame) => {
      if (current === dealer) handlers.received(frame);
    });
  };
  /* A full queue: nobody takes what is there, and it must not be taken much later. */
  const startAnew = (stuck: Dealer): void => {
    if (current !== stuck) return;
    stuck.close();
    isConnected = false;
    open();
    handlers.disconnected();
  };
  open();
  return {
    send: (frame) => {
      const dealer = current;
      if (!isConnected || dealer === null) return false;
      dealer.send(frame).catch(() => startAnew(dealer));
      return true;
    },
    close: () => {
      current?.close();
      current = null;
    },
  };
}

async function receiveAll(dealer: Dealer, received: (frame: Buffer) => void): Promise<void> {
  for await (const [frame, ...more] of dealer) if (frame !== undefined && more.length === 0) received(frame);
}
