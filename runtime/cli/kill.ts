import { constants } from 'node:os';
import { parse, signalNumber, taskId } from './arguments.js';
import { withCluster } from './session.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = async (words) => {
  const { values, positionals } = parse(words, { signal: { type: 'string', short: 's' } }, 1);
  const task = taskId(positionals[0]);
  const signo = values.signal === undefined ? constants.signals.SIGTERM : signalNumber(values.signal);
  await withCluster((cluster) => cluster.kill(task, signo));
  return STATUS.ok;
};
