import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from './cluster.js';
import { spread } from './sample.js';
import type { Row } from './table.js';

const WATCH_MS = 30_000;
const TICKS_PER_SECOND = 100;

/** What an agent costs that has nothing to do: three of them are watched for half a minute. */
export async function measureIdle(cluster: Cluster): Promise<Row[]> {
  const agents = await findAgents(cluster.folder);
  if (agents.length === 0) throw new Error('no agent of this cluster was found');
  const before = await Promise.all(agents.map(cpuTicks));
  await pause(WATCH_MS);
  const after = await Promise.all(agents.map(cpuTicks));
  const percent = after.map(
    (ticks, index) => ((ticks - (before[index] ?? 0)) / TICKS_PER_SECOND / (WATCH_MS / 1000)) * 100,
  );
  const mebibytes = await Promise.all(agents.map(proportionalMebibytes));
  return [
    {
      what: 'an idle agent',
      skein: `${spread(percent, 2)} % of a CPU, PSS ${spread(mebibytes)} MiB`,
      beside: `${agents.length} agents on this machine, sharing what pages they can`,
    },
  ];
}

async function findAgents(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = await readFile(`/proc/${name}/cmdline`, 'latin1');
      if (!command.includes('runtime/agent/main.js')) continue;
      const environment = await readFile(`/proc/${name}/environ`, 'latin1');
      if (command.includes(folder) || environment.includes(folder)) found.push(Number(name));
    } catch (error) {
      // It ended while we looked.
      if (!(error instanceof Error)) throw error;
    }
  }
  return found;
}

/** User and system time, fields 14 and 15 of proc(5)'s stat, counted after the name in brackets. */
async function cpuTicks(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

async function proportionalMebibytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
  return Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) / 1024;
}
