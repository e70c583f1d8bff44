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

/** Connects, and connects again whenever the agent has gone and come back, until closed. */
export function openLocalSocket(path: string, handlers: LocalSocketHandlers): LocalSocket {
  const socket = new Dealer({
    immediate: true,
    linger: 100,
    sendTimeout: 0,
    reconnectInterval: 50,
    reconnectMaxInterval: 500,
    maxMessageSize: LOCAL_MAX_BYTES,
  });
  let isConnected = false;
  socket.events.on('handshake', () => {
    isConnected = true;
    handlers.connected();
  });
  socket.events.on('disconnect', () => {
    isConnected = false;
    handlers.disconnected();
  });
  socket.connect(`ipc://${path}`);
  void receiveAll(socket, handlers.frame);
  return {
    send: (frame) => {
      if (!isConnected) return false;
      // With a time-out of 0 this settles at once; a full queue means an agent that hears nothing.
      socket.send(frame).catch(() => {
        isConnected = false;
      });
      return true;
    },
    close: () => {
      if (!socket.closed) socket.close();
    },
  };
}

async function receiveAll(socket: Dealer, frame: (frame: Buffer) => void): Promise<void> {
  for await (const [first, ...more] of socket) {
    // One frame a message; anything else is no message of ours.
    if (first !== undefined && more.length === 0) frame(first);
  }
}
