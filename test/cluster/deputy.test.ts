/*
 * The deputy of a detached task is killed: another takes its place, knows who may run the task and what it has open,
 * and the task notices nothing.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from './support/cluster.js';
import { processesOf } from './support/processes.js';
import { until } from './support/until.js';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.up();
});

afterAll(async () => {
  await cluster.down();
});

const ROUNDS = 120;
const SCRIPT = `
import os, time
os.chdir('work')
log = open('log', 'a', buffering=1)
source = open('source')
for number in range(1, ${ROUNDS} + 1):
    log.write('%d\\n' % number)
    source.readline()
    with open('part%d' % (number % 3), 'w') as part:
        part.write(str(number))
    os.listdir('.')
    time.sleep(0.05)
import decimal, json
print(source.tell(), sorted(os.listdir('.')))
`;

async function deputyPid(): Promise<number | null> {
  const all = await processesOf(cluster.folder);
  return all.find(({ command }) => command.includes('runon --deputy'))?.pid ?? null;
}

describe('a detached task whose deputy is killed', () => {
  it('goes on with its files, and still moves', async () => {
    const work = join(cluster.folder, 'work');
    await mkdir(work, { mode: 0o777 });
    await writeFile(join(work, 'source'), 'a line of twenty....\n'.repeat(10_000));
    await writeFile(join(cluster.folder, 'script.py'), SCRIPT);
    await writeFile(join(work, 'log'), '', { mode: 0o666 });
    const task = await cluster.detach(2, ['/usr/bin/python3', 'script.py']);

    await until(
      'it has begun',
      () => countLines(join(work, 'log')),
      (now) => now > 5,
    );

    for (const to of [3, 1]) {
      const before = await until('it has a deputy', deputyPid, (pid) => pid !== null);
      if (before === null) throw new Error('no deputy');
      process.kill(before, 'SIGKILL');
      await until('another has taken its place', deputyPid, (pid) => pid !== null && pid !== before);
      const lines = await countLines(join(work, 'log'));
      await until(
        'the task goes on',
        () => countLines(join(work, 'log')),
        (now) => now > lines,
      );
      const move = await until(
        `it moves to node ${to}`,
        () => cluster.run(['skein', 'migrate', task, String(to), '--json']),
        ({ status }) => status === 0,
      );
      expect(JSON.parse(move.stdout)).toMatchObject({ task, to });
    }

    expect(await cluster.wait(task)).toBe(0);
    const expected = Array.from({ length: ROUNDS }, (_, index) => `${index + 1}\n`).join('');
    expect(await readFile(join(work, 'log'), 'utf8')).toBe(expected);
    expect(await cluster.logs(task)).toBe(`${21 * ROUNDS} ['log', 'part0', 'part1', 'part2', 'source']\n`);
  });
});

async function countLines(path: string): Promise<number> {
  return (await readFile(path, 'utf8')).split('\n').length - 1;
}
