/*
 * Whether anybody listens at a door of this machine.
 */
import { createConnection } from 'node:net';

const ANSWER_LIMIT_MS = 1_000;

/**
 * True only if the kernel says that nobody listens there: a program that is stopped, or too busy to take the
 * connection, is there all the same.
 *
 * @param endpoint `tcp://ADDRESS:PORT`
 */
export function isRefused(endpoint: string): Promise<boolean> {
  const { hostname: host, port } = new URL(endpoint);
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: Number(port), timeout: ANSWER_LIMIT_MS });
    const end = (refused: boolean) => (): void => {
      socket.destroy();
      resolve(refused);
    };
    socket.once('connect', end(false));
    socket.once('timeout', end(false));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED')());
  });
}
