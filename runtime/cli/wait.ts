import { parse, taskId } from './arguments.js';
import { withCluster } from './session.js';
import type { Run } from './verb.js';

/** Ends with the task's own exit status; 125 if Skein fails. */
export const run: Run = async (words) => {
  const { positionals } = parse(words, {}, 1);
  const task = taskId(positionals[0]);
  return withCluster((cluster) => cluster.wait(task));
};
