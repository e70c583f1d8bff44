/*
 * `npm run bench`: what Skein costs on this machine, beside what the machine itself can do. Nothing passes or
 * fails here; every number is a median of at least five.
 *
 *   npm run bench                          all of it
 *   npm run bench -- migration files       some: migration, files, start, idle
 *   npm run bench -- --write               all of it, into docs/benchmarks.md
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Cluster, root } from './cluster.js';
import { measureFiles } from './files.js';
import { measureIdle } from './idle.js';
import { measureMigration } from './migration.js';
import { Ssh } from './ssh.js';
import { measureStart } from './start.js';
import { markdownTable, type Row } from './table.js';

type Measure = (cluster: Cluster, ssh: Ssh | null) => Promise<Row[]>;

const MEASURES: Readonly<Record<string, Measure>> = {
  idle: measureIdle,
  start: measureStart,
  migration: measureMigration,
  files: measureFiles,
};

function machine(): string {
  const processors = cpus();
  const memoryGib = Math.round(totalmem() / 2 ** 30);
  const model = processors[0]?.model ?? 'unknown processor';
  return `${processors.length} CPUs (${model}), ${memoryGib} GiB, Linux ${release()}, Node ${process.versions.node}`;
}

async function main(words: readonly string[]): Promise<void> {
  const write = words.includes('--write');
  const names = words.filter((word) => word !== '--write');
  const unknown = names.find((name) => !(name in MEASURES));
  if (unknown !== undefined) {
    console.error(`bench: no measurement ${unknown}; there are ${Object.keys(MEASURES).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  await promisify(execFile)('make', ['-s', '-C', join(root, 'test/bench'), 'all']);

  const rows: Row[] = [];
  for (const [name, measure] of Object.entries(MEASURES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    console.error(`measuring: ${name}`);
    // A cluster of its own for each, so that none inherits another's load or leftovers.
    const ssh = name === 'start' || name === 'files' ? await Ssh.start() : null;
    const cluster = await Cluster.up();
    try {
      rows.push(...(await measure(cluster, ssh)));
    } finally {
      await cluster.down();
      await ssh?.stop();
    }
  }
  const text = `${machine()}; median (lowest to highest).\n\n${markdownTable(rows)}`;
  console.log(`\n${text}`);
  if (write)
    await writeFile(
      join(root, 'docs/benchmarks.md'),
      `# Benchmarks\n\nWritten by \`npm run bench -- --write\`.\n\n${text}`,
    );
}

await main(process.argv.slice(2));
