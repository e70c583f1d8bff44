/*
 * The agent's socket for the programs of its own machine: a ROUTER on ipc.
 */
import { chmod, rm } from 'node:fs/promises';
import { Router } from 'zeromq';
import { LOCAL_MAX_BYTES } from './codec-local.js';
import { LONGEST_SOCKET_PATH } from './transport-local.js';

export interface LocalListener {
  /** Frames that can't be delivered now are dropped. */
  send(route: Buffer, frame: Buffer): void;
  close(): Promise<void>;
}

export interface LocalHandlers {
  received(route: Buffer, frames: readonly Buffer[]): void;
  /** The program of this routing id has gone: what was sent to it was dropped, and it won't come back. */
  unreachable(route: Buffer): void;
}

const EVERYONE = 0o777;

/** @throws when the path is too long or can't be bound. A socket that an agent left behind is replaced. */
export async function listenLocally(path: string, handlers: LocalHandlers): Promise<LocalListener> {
  if (Buffer.byteLength(path) > LONGEST_SOCKET_PATH)
    throw new Error(`${path} is longer than the ${LONGEST_SOCKET_PATH} bytes that a socket's name may have`);
  const router = new Router({
    mandatory: true,
    sendTimeout: 0,
    linger: 200,
    maxMessageSize: LOCAL_MAX_BYTES,
    sendHighWaterMark: 1000,
    receiveHighWaterMark: 1000,
  });
  try {
    await router.bind(`ipc://${path}`);
    await chmod(path, EVERYONE);
  } catch (error) {
    router.close();
    throw error;
  }
  void receiveAll(router, handlers);
  return {
    send: (route, frame) => {
      if (router.closed) return;
      // Or it takes nothing just now (EAGAIN): dropped, too.
      router.send([route, frame]).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'EHOSTUNREACH') handlers.unreachable(route);
      });
    },
    close: async () => {
      router.close();
      await rm(path, { force: true });
    },
  };
}

async function receiveAll(router: Router, handlers: LocalHandlers): Promise<void> {
  for await (const [route, ...frames] of router) if (route !== undefined) handlers.received(route, frames);
}
