import { parse } from './arguments.js';
import { printJson, withCluster } from './session.js';
import { bytes, duration, printable, table } from './table.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = async (words) => {
  const { values } = parse(words, { json: { type: 'boolean' }, all: { type: 'boolean', short: 'a' } }, 0);
  const tasks = await withCluster((cluster) => cluster.tasks({ all: values.all === true }));
  if (values.json === true) {
    printJson(tasks);
    return STATUS.ok;
  }
  process.stdout.write(
    table(
      [
        { name: 'TASK' },
        { name: 'PID', right: true },
        { name: 'HOME', right: true },
        { name: 'HOST', right: true },
        { name: 'STATE' },
        { name: 'USER' },
        { name: 'CPU', right: true },
        { name: 'MEMORY', right: true },
        { name: 'MOVES', right: true },
        { name: 'COMMAND' },
      ],
      tasks.map((task) => [
        task.task,
        String(task.pid),
        String(task.home),
        String(task.host),
        task.state,
        printable(task.user),
        duration(task.cpuSeconds),
        bytes(task.residentBytes),
        String(task.moves),
        printable(task.command),
      ]),
    ),
  );
  return STATUS.ok;
};
