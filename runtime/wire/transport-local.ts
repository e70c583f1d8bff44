/*
 * A client's socket to the agent of its own machine: a DEALER on ipc.
 */
import { Dealer } from 'zeromq';
import { LOCAL_MAX_BYTES } from './codec-local.js';

export interface LocalSocketHandlers {
  /** The agent is there; after a restart of the agent, again. */
  readonly connected: () => void;
  readonly disconnected: () => void;
  readonly frame: (frame: Buffer) => void;
}

export interface LocalSocket {
  /** False: no agent is there just now, the frame was dropped. */
  send(frame: Buffer): boolean;
  close(): void;
}

/** Unix sockets have short names. */
export const LONGEST_SOCKET_PATH = 107;

/** More than a program has requests open at once: a full queue means an agent that takes nothing. */
const HIGH_WATER = 20_000;

/** Connects, and connects again whenever the agent has gone and come back, until closed. */
export function openLocalSocket(path: string, handlers: LocalSocketHandlers): LocalSocket {
  let current: Dealer | null = null;
  let isConnected = false;
  const open = (): void => {
    const socket = new Dealer({
      immediate: true,
      linger: 100,
      sendTimeout: 0,
      reconnectInterval: 50,
      reconnectMaxInterval: 500,
      sendHighWaterMark: HIGH_WATER,
      maxMessageSize: LOCAL_MAX_BYTES,
    });
    current = socket;
    socket.events.on('handshake', () => {
      if (current !== socket) return;
      isConnected = true;
      handlers.connected();
    });
    socket.events.on('disconnect', () => {
      if (current !== socket) return;
      isConnected = false;
      handlers.disconnected();
    });
    socket.connect(`ipc://${path}`);
    void receiveAll(socket, (frame) => {
      if (current === socket) handlers.frame(frame);
    });
  };
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
      const socket = current;
      if (!isConnected || socket === null) return false;
      // With a time-out of 0 this settles at once.
      socket.send(frame).catch(() => startAnew(socket));
      return true;
    },
    close: () => {
      current?.close();
      current = null;
    },
  };
}

async function receiveAll(socket: Dealer, frame: (frame: Buffer) => void): Promise<void> {
  for await (const [first, ...more] of socket) {
    // One frame a message; anything else is no message of ours.
    if (first !== undefined && more.length === 0) frame(first);
  }
}
