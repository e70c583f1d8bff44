import { createServer } from 'node:net';
import { CommandError } from '../verb.js';

export const USUAL_PORT = 7071;
const LAST_PORT = 9_999;
const TRIES = 50;

/** The usual port, or another when that is taken at one of the nodes' addresses. */
export async function choosePort(addresses: readonly string[], said: number | undefined): Promise<number> {
  if (said !== undefined) {
    const taken = await takenAt(addresses, said);
    if (taken === null) return said;
    throw new CommandError(`port ${said} is in use at ${taken}; choose another with --port`);
  }
  if ((await takenAt(addresses, USUAL_PORT)) === null) return USUAL_PORT;
  for (let tries = 0; tries < TRIES; tries++) {
    // By chance: of two clusters that come up at once each should find its own.
    const port = USUAL_PORT + 1 + Math.floor(Math.random() * (LAST_PORT - USUAL_PORT));
    if ((await takenAt(addresses, port)) === null) return port;
  }
  throw new CommandError(`no free port from ${USUAL_PORT} to ${LAST_PORT}; choose one with --port`);
}

async function takenAt(addresses: readonly string[], port: number): Promise<string | null> {
  for (const address of addresses) {
    if (!(await isFree(address, port))) return address;
  }
  return null;
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else if (error.code === 'EACCES')
        reject(new CommandError(`port ${port} is for root only; choose one above 1023 with --port`));
      else reject(error);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
