import type { NodeInfo } from '../client/index.js';
import { parse } from './arguments.js';
import { printJson, withCluster } from './session.js';
import { bytes, duration, table } from './table.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = async (words) => {
  const { values } = parse(words, { json: { type: 'boolean' } }, 0);
  const nodes = await withCluster((cluster) => cluster.nodes());
  if (values.json === true) printJson(nodes);
  else process.stdout.write(nodesTable(nodes));
  return STATUS.ok;
};

export function nodesTable(nodes: readonly NodeInfo[]): string {
  return table(
    [
      { name: 'NODE', right: true },
      { name: 'ADDRESS' },
      { name: 'STATE' },
      { name: 'LOAD', right: true },
      { name: 'CPUS', right: true },
      { name: 'SPEED', right: true },
      { name: 'MEMORY', right: true },
      { name: 'FREE', right: true },
      { name: 'TASKS', right: true },
      { name: 'AGE', right: true },
    ],
    nodes.map((node) => [
      String(node.node),
      node.address,
      node.state,
      node.load.toFixed(2),
      String(Number(node.cpus.toFixed(2))),
      node.speed.toFixed(2),
      bytes(node.memoryTotal),
      bytes(node.memoryFree),
      String(node.tasks),
      node.ageMs === null ? '-' : duration(node.ageMs / 1000),
    ]),
  );
}
