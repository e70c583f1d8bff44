import { parse } from '../arguments.js';
import { STATUS, type Run } from '../verb.js';
import { clusterFolder, readCluster } from './folder.js';
import { takeDown } from './take-down.js';

export const run: Run = async (words) => {
  const { values } = parse(words, { dir: { type: 'string' } }, 0);
  const folder = clusterFolder(values.dir);
  const cluster = readCluster(folder);
  if (cluster === null) {
    process.stdout.write(`no cluster is up in ${folder}\n`);
    return STATUS.ok;
  }
  await takeDown(folder, cluster);
  process.stdout.write(`the cluster in ${folder} is down\n`);
  return STATUS.ok;
};
