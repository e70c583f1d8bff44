import { createConnection } from 'node:net';
import { join } from 'node:path';
import { Cluster } from './cluster.js';
import { NoAgentError } from './errors.js';
import { findNode, type FindOptions } from './find.js';
import { AgentLink } from './link.js';
import { pidFileLives, readPidFile } from './pidfile.js';

export interface ConnectOptions extends FindOptions {
  /** Ends the attempt to connect (close() ends a connection). */
  readonly signal?: AbortSignal;
  /** How long an agent that is being (re)started is waited for. Default 20 s. */
  readonly timeoutMs?: number;
}

/**
 * Connects to the agent of a node on this machine.
 *
 * @throws NoNodeError if there is none, NoAgentError if it is not running.
 */
export async function connect(options: ConnectOptions = {}): Promise<Cluster> {
  const { state, cluster } = findNode(options);
  await requireAgent(state, cluster);
  const link = await AgentLink.open(state, { signal: options.signal, timeoutMs: options.timeoutMs });
  return new Cluster(link);
}

/** An agent that is gone is worth waiting for only if its launcher lives. */
async function requireAgent(state: string, cluster: string | null): Promise<void> {
  if (await answers(join(state, 'agent.sock'))) return;
  const launcher = readPidFile(join(state, 'skeind.pid'));
  if (launcher !== null && pidFileLives(launcher)) return;
  const mend = cluster === null ? `\`skeind ${state}\` starts it` : '`skein cluster up N` starts a cluster';
  throw new NoAgentError(`the node in ${state} is not running (${mend})`);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const end = (there: boolean) => (): void => {
      socket.destroy();
      resolve(there);
    };
    socket.once('connect', end(true));
    // Refused, not there, or not for us: what is wrong is told by what the launcher's file says.
    socket.once('error', end(false));
  });
}
