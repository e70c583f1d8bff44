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

const EVERYONE = 0o777;

/** @throws when the path is too long or can't be bound. A socket that an agent left behind is replaced. */
export async function listenLocally(
  path: string,
  received: (route: Buffer, frames: readonly Buffer[]) => void,
): Promise<LocalListener> {
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
  void receiveAll(router, received);
  return {
    send: (route, frame) => {
      // Gone, or it takes nothing: it says hello again when it is back.
      router.send([route, frame]).catch(() => undefined);
    },
    close: async () => {
      router.close();
      await rm(path, { force: true });
    },
  };
}

async function receiveAll(
  router: Router,
  received: (route: Buffer, frames: readonly Buffer[]) => void,
): Promise<void> {
  for await (const [route, ...frames] of router) if (route !== undefined) received(route, frames);
}
