import { connect, type NodeInfo } from '../../client/index.js';
import { parse } from '../arguments.js';
import { printJson } from '../session.js';
import { CommandError, STATUS, type Run } from '../verb.js';
import { clusterFolder, nodeFolder, nodeNumbers, readCluster, type ClusterFile } from './folder.js';
import { launcherLives } from './start.js';

const ANSWER_LIMIT_MS = 5_000;

export const run: Run = async (words) => {
  const { values } = parse(words, { dir: { type: 'string' }, json: { type: 'boolean' } }, 0);
  const folder = clusterFolder(values.dir);
  const cluster = readCluster(folder);
  if (cluster === null)
    throw new CommandError(`no cluster is up in ${folder} (\`skein cluster up 3\` starts one)`);
  const seen = await ask(folder, cluster);
  const nodes = nodeNumbers(cluster.nodes).map((node) => ({
    node,
    folder: nodeFolder(folder, node),
    running: launcherLives(folder, node),
    state: seen.get(node)?.state ?? 'unknown',
    tasks: seen.get(node)?.tasks ?? 0,
  }));
  if (values.json === true) printJson({ folder, port: cluster.port, nodes });
  else {
    process.stdout.write(`a cluster of ${cluster.nodes} in ${folder}, port ${cluster.port}\n`);
    for (const { node, running, state, tasks } of nodes)
      process.stdout.write(
        `node ${node}: ${running ? `running, ${state}, ${tasks} task${tasks === 1 ? '' : 's'}` : 'not running (`skein cluster up` starts it again)'}\n`,
      );
  }
  return nodes.every(({ running }) => running) ? STATUS.ok : STATUS.failed;
};

/** What the first node that runs thinks of all. */
async function ask(folder: string, cluster: ClusterFile): Promise<Map<number, NodeInfo>> {
  const running = nodeNumbers(cluster.nodes).find((node) => launcherLives(folder, node));
  if (running === undefined) return new Map();
  const client = await connect({ dir: nodeFolder(folder, running), timeoutMs: ANSWER_LIMIT_MS });
  try {
    return new Map((await client.nodes()).map((node) => [node.node, node]));
  } finally {
    client.close();
  }
}
