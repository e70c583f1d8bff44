import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { nodeNumber } from '../arguments.js';
import { nativeProgram } from '../root.js';
import { CommandError, STATUS, UsageError, type Run } from '../verb.js';
import { clusterFolder, nodeFolder, readCluster } from './folder.js';
import { launcherLives } from './start.js';

/** Runs a command among a node's processes; all words after the node's number are its own. */
export const run: Run = async ([word, ...rest]) => {
  const node = nodeNumber(word);
  const command = rest[0] === '--' ? rest.slice(1) : rest;
  if (command.length === 0) throw new UsageError('which command?');
  const folder = clusterFolder(undefined);
  const cluster = readCluster(folder);
  if (cluster === null)
    throw new CommandError(`no cluster is up in ${folder} (\`skein cluster up 3\` starts one)`);
  if (node > cluster.nodes)
    throw new CommandError(`the cluster in ${folder} has nodes 1 to ${cluster.nodes}`);
  if (!launcherLives(folder, node))
    throw new CommandError(
      `node ${node} is not running (\`skein cluster up ${cluster.nodes}\` starts it again)`,
    );
  const child = spawn(
    nativeProgram('skein-enter'),
    ['--state', nodeFolder(folder, node), '--pid', '--', ...command],
    { stdio: 'inherit' },
  );
  // The terminal sends these to the command as well; what others send to us is passed on.
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, pass);
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => undefined);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve(code ?? (signal === null ? STATUS.skeinFailed : 128 + constants.signals[signal]));
    });
  });
};
