import { parse } from './arguments.js';
import { findings } from './machine.js';
import { printJson } from './session.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = (words) => {
  const { values } = parse(words, { json: { type: 'boolean' } }, 0);
  const all = findings();
  if (values.json === true) printJson(all);
  else
    for (const { check, ok, found, mend } of all)
      process.stdout.write(
        `${ok ? 'ok  ' : 'BAD '} ${check}: ${found}${mend === null ? '' : `\n     mend: ${mend}`}\n`,
      );
  return Promise.resolve(all.every(({ ok }) => ok) ? STATUS.ok : STATUS.failed);
};
