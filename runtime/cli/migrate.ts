import { moveTarget, parse, taskId } from './arguments.js';
import { printJson, withCluster } from './session.js';
import { bytes } from './table.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = async (words) => {
  const options = { json: { type: 'boolean' }, 'post-copy': { type: 'boolean' } } as const;
  const { values, positionals } = parse(words, options, 2);
  const task = taskId(positionals[0]);
  const node = moveTarget(positionals[1]);
  const move = await withCluster((cluster) =>
    cluster.migrate(task, node === 'home' || node === 'best' ? node : Number(node), {
      postCopy: values['post-copy'] === true,
    }),
  );
  if (values.json === true) {
    printJson(move);
    return STATUS.ok;
  }
  const line =
    move.from === move.to
      ? `${move.task} is on node ${move.to} already`
      : `${move.task} went from node ${move.from} to node ${move.to}: ${bytes(move.bytesTotal)} in ${move.rounds} ` +
        `round${move.rounds === 1 ? '' : 's'}, ${move.totalMs.toFixed(0)} ms in all; ` +
        `it stood still for ${move.downtimeMs.toFixed(0)} ms`;
  process.stdout.write(`${line}\n`);
  return STATUS.ok;
};
