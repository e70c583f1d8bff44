/*
 * The sockets between agents: a ROUTER that listens and a DEALER for each peer that is dialled, all with CURVE, and
 * the handler that libzmq asks who may come in (ZAP, rfc.zeromq.org/spec/27).
 */
import { Dealer, Reply, Router } from 'zeromq';

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

/* See the traps in DESIGN: a low send high-water mark on a socket that also receives can lose a wake-up. */
const HIGH_WATER = 1000;
const DOMAIN = 'skein';
const KEEP_ALIVE = {
  tcpKeepalive: 1,
  tcpKeepaliveIdle: 10,
  tcpKeepaliveInterval: 5,
  tcpKeepaliveCount: 4,
} as const;
const REFUSE_LINGER_MS = 0;

/** Lets in clients whose public key (32 bytes) is allowed. One for each process. */
export async function openDoor(
  isAllowed: (publicKey: Buffer) => boolean,
  refused: (address: string) => void,
): Promise<{ close(): void }> {
  const door = new Reply({ linger: REFUSE_LINGER_MS });
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
  endpoint: string,
  identity: CurveIdentity,
  mostBytes: number,
  received: (route: Buffer, frame: Buffer) => void,
): Promise<Listener> {
  const router = new Router({
    curveServer: true,
    curveSecretKey: identity.secretKey,
    zapDomain: DOMAIN,
    maxMessageSize: mostBytes,
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
      router.send([route, frame]).catch(() => undefined);
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

export function dial(
  endpoint: string,
  identity: CurveIdentity,
  serverKey: string,
  mostBytes: number,
  handlers: {
    readonly connected: () => void;
    readonly disconnected: () => void;
    readonly received: (frame: Buffer) => void;
  },
): Dialled {
  const dealer = new Dealer({
    curveServerKey: serverKey,
    curvePublicKey: identity.publicKey,
    curveSecretKey: identity.secretKey,
    maxMessageSize: mostBytes,
    sendHighWaterMark: HIGH_WATER,
    receiveHighWaterMark: HIGH_WATER,
    immediate: true,
    sendTimeout: 0,
    linger: 0,
    reconnectInterval: 100,
    reconnectMaxInterval: 2000,
    connectTimeout: 5000,
    ...KEEP_ALIVE,
  });
  let isConnected = false;
  dealer.events.on('handshake', () => {
    isConnected = true;
    handlers.connected();
  });
  dealer.events.on('disconnect', () => {
    isConnected = false;
    handlers.disconnected();
  });
  dealer.connect(endpoint);
  void receiveAll(dealer, handlers.received);
  return {
    send: (frame) => {
      if (!isConnected) return false;
      dealer.send(frame).catch(() => {
        // A full queue: nobody takes what is there.
        isConnected = false;
        handlers.disconnected();
      });
      return true;
    },
    close: () => dealer.close(),
  };
}

async function receiveAll(dealer: Dealer, received: (frame: Buffer) => void): Promise<void> {
  for await (const [frame, ...more] of dealer) if (frame !== undefined && more.length === 0) received(frame);
}
