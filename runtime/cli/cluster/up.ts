import { availableParallelism } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Cluster, type NodeInfo } from '../../client/index.js';
import { parse } from '../arguments.js';
import { findings } from '../machine.js';
import { CommandError, STATUS, UsageError, type Run } from '../verb.js';
import {
  clusterFolder,
  makeCluster,
  MOST_NODES,
  nodeFolder,
  nodeNumbers,
  readCluster,
  type ClusterFile,
} from './folder.js';
import { choosePort, USUAL_PORT } from './port.js';
import { launcherLives, startNode } from './start.js';
import { takeDown } from './take-down.js';

/** Until all nodes know of each other: a few steps of gossip, on a busy machine. */
const MEETING_LIMIT_MS = 45_000;
const LOOK_AGAIN_MS = 150;
const MOST_CPUS = 4_096;

export const run: Run = async (words) => {
  const { values, positionals } = parse(
    words,
    { dir: { type: 'string' }, port: { type: 'string' }, cpus: { type: 'string' } },
    1,
  );
  const nodes = numberWithin(positionals[0], 'number of nodes', 1, MOST_NODES);
  const port = values.port === undefined ? undefined : numberWithin(values.port, 'port', 1, 65_535);
  const cpus = values.cpus === undefined ? undefined : cpuCount(values.cpus);
  const folder = clusterFolder(values.dir);

  const there = readCluster(folder);
  const living = there === null ? [] : livingNodes(folder, there);
  if (there !== null && living.length > 0) return goOn(folder, there, living, nodes);
  if (there !== null) {
    say(`a cluster in ${folder} had not been shut down in order; cleaning up`);
    await takeDown(folder, there);
  }
  requireMachine();
  const addresses = nodeNumbers(nodes).map((node) => `127.0.0.${node}`);
  const chosen = await choosePort(addresses, port);
  makeCluster({ folder, nodes, port: chosen, cpus });
  const file: ClusterFile = { version: 1, nodes, port: chosen };
  try {
    await start(folder, nodeNumbers(nodes));
    await meet(folder, nodes);
  } catch (error) {
    await takeDown(folder, file);
    throw error;
  }
  say(
    `${nodes === 1 ? 'one node is' : `${nodes} nodes are`} up, at 127.0.0.1${nodes > 1 ? ` to 127.0.0.${nodes}` : ''}` +
      `${chosen === USUAL_PORT ? '' : `, port ${chosen}`}, in ${folder}`,
  );
  if (nodes > availableParallelism())
    say(
      `(this machine has ${availableParallelism()} CPUs: that many nodes at most can be busy at full speed)`,
    );
  say('try: runon 2 uname -a; skein ps; mon; and in the end: skein cluster down');
  return STATUS.ok;
};

/** Without these the nodes might come up, but no task. */
function requireMachine(): void {
  const bad = findings().find(({ ok }) => !ok);
  if (bad !== undefined)
    throw new CommandError(`${bad.check}: ${bad.found}${bad.mend === null ? '' : ` (to mend: ${bad.mend})`}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function numberWithin(word: string | undefined, what: string, least: number, most: number): number {
  const value = /^\d{1,6}$/.test(word ?? '') ? Number(word) : NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`"${word ?? ''}" is no ${what} from ${least} to ${most}`);
}

function cpuCount(word: string): number {
  const value = /^\d+(\.\d+)?$/.test(word) ? Number(word) : NaN;
  if (value > 0 && value <= MOST_CPUS) return value;
  throw new UsageError(`"${word}" is no number of CPUs`);
}

function livingNodes(folder: string, { nodes }: ClusterFile): number[] {
  return nodeNumbers(nodes).filter((node) => launcherLives(folder, node));
}

/** A cluster is up already: fine if it is the one that is wanted. Nodes of it that are gone are started again. */
async function goOn(
  folder: string,
  there: ClusterFile,
  living: readonly number[],
  nodes: number,
): Promise<number> {
  if (there.nodes !== nodes)
    throw new CommandError(
      `a cluster of ${there.nodes} nodes is up in ${folder}; \`skein cluster down\` ends it, --dir makes another`,
    );
  const missing = nodeNumbers(nodes).filter((node) => !living.includes(node));
  await start(folder, missing);
  await meet(folder, nodes);
  say(
    missing.length === 0
      ? `${nodes} nodes are up already, in ${folder}`
      : `started node ${missing.join(', ')} again; ${nodes} nodes are up, in ${folder}`,
  );
  return STATUS.ok;
}

async function start(folder: string, numbers: readonly number[]): Promise<void> {
  const results = await Promise.allSettled(numbers.map((node) => startNode(folder, node)));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** Waits until each node sees every other alive. */
async function meet(folder: string, nodes: number): Promise<void> {
  const signal = AbortSignal.timeout(MEETING_LIMIT_MS);
  await Promise.all(nodeNumbers(nodes).map((node) => seesAll(folder, node, nodes, signal)));
}

async function seesAll(folder: string, node: number, nodes: number, signal: AbortSignal): Promise<void> {
  const cluster = await connect({ dir: nodeFolder(folder, node), signal });
  try {
    let missing = await missingAt(cluster, nodes);
    while (missing.length > 0) {
      if (signal.aborted)
        throw new CommandError(
          `node ${node} has not heard from node ${missing.map((one) => one.node).join(', ')} in ` +
            `${MEETING_LIMIT_MS / 1000} s; see ${nodeFolder(folder, node)}/agent.log`,
        );
      await pause(LOOK_AGAIN_MS);
      missing = await missingAt(cluster, nodes);
    }
  } finally {
    cluster.close();
  }
}

async function missingAt(cluster: Cluster, nodes: number): Promise<NodeInfo[]> {
  const seen = await cluster.nodes();
  if (seen.length !== nodes) throw new CommandError(`the map has ${seen.length} nodes instead of ${nodes}`);
  return seen.filter(({ state }) => state !== 'alive');
}
