import type { Run } from './verb.js';
import { UsageError } from './verb.js';

const VERBS: Readonly<Record<string, () => Promise<{ readonly run: Run }>>> = {
  up: () => import('./cluster/up.js'),
  down: () => import('./cluster/down.js'),
  status: () => import('./cluster/status.js'),
  exec: () => import('./cluster/exec.js'),
};

export const run: Run = async ([name, ...words]) => {
  const load = VERBS[name ?? ''];
  if (load === undefined)
    throw new UsageError(name === undefined ? 'what about it?' : `there is no "${name}"`);
  return (await load()).run(words);
};
