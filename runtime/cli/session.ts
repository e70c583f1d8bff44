import { connect, type Cluster } from '../client/index.js';

/** Runs something with a connection to the node that was chosen, and closes it. */
export async function withCluster<T>(use: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await connect();
  try {
    return await use(cluster);
  } finally {
    cluster.close();
  }
}

/** Exactly one JSON value. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
