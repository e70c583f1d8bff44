import { setTimeout as pause } from 'node:timers/promises';
import { join } from 'node:path';
import { programs, type Cluster } from './cluster.js';
import { median, repeat, spread, wireMs } from './sample.js';
import type { Row } from './table.js';

const MOVES = 7;
const TOTAL_MIB = 1024;
const HOT_MIB = 16;
const READY_LIMIT_MS = 60_000;
const BETWEEN_MOVES_MS = 1_500;

interface Move {
  readonly rounds: number;
  readonly bytesTotal: number;
  readonly bytesFrozen: number;
  readonly downtimeMs: number;
  readonly totalMs: number;
}

interface Seen extends Move {
  /** The longest gap that the process itself saw while it was moved. */
  readonly gapMs: number;
}

/** A process of 1 GiB: how long it stands still, as it sees that itself, and how fast its memory travels. */
export async function measureMigration(cluster: Cluster): Promise<Row[]> {
  const hot = await moveAround(cluster, HOT_MIB);
  const quiet = await moveAround(cluster, 0);
  const wire = join(programs, 'wire');
  const frozenBytes = median(hot.map((move) => move.bytesFrozen));
  const bytes = median(quiet.map((move) => move.bytesTotal));
  const frozenTcp = await repeat(5, () => wireMs(wire, 'tcp', frozenBytes));
  const frozenCurve = await repeat(5, () => wireMs(wire, 'curve', frozenBytes));
  const tcp = await repeat(5, () => wireMs(wire, 'tcp', bytes));
  const curve = await repeat(5, () => wireMs(wire, 'curve', bytes));
  const megabytes = (value: number): string => `${(value / 1e6).toFixed(1)} MB`;
  const rate = (ms: readonly number[], size: number): string =>
    `${(size / 1e6 / (median(ms) / 1000)).toFixed(0)} MB/s`;

  return [
    {
      what: `downtime of a 1 GiB process with a ${HOT_MIB} MiB hot set, by its own CLOCK_REALTIME`,
      skein: `${spread(hot.map((move) => move.gapMs))} ms`,
      beside: `${megabytes(frozenBytes)} frozen: raw TCP ${median(frozenTcp).toFixed(1)} ms, CURVE ${median(frozenCurve).toFixed(1)} ms`,
    },
    {
      what: 'the same, as the engine reports it',
      skein: `${spread(hot.map((move) => move.downtimeMs))} ms`,
      beside: `${spread(
        hot.map((move) => move.rounds),
        0,
      )} rounds, ${megabytes(median(hot.map((move) => move.bytesTotal)))} in all`,
    },
    {
      what: 'that move from beginning to end',
      skein: `${spread(
        hot.map((move) => move.totalMs),
        0,
      )} ms`,
      beside: '',
    },
    {
      what: 'first round: 1 GiB of which nothing is written meanwhile',
      skein: rate(
        quiet.map((move) => move.totalMs - move.downtimeMs),
        bytes,
      ),
      beside: `raw TCP ${rate(tcp, bytes)}, CURVE between two processes ${rate(curve, bytes)}`,
    },
  ];
}

async function moveAround(cluster: Cluster, hotMib: number): Promise<Seen[]> {
  const words = ['--total-mib', String(TOTAL_MIB), '--hot-mib', String(hotMib)];
  const task = (await cluster.run('runon', '-d', '--stay', '2', join(programs, 'hotset'), ...words)).trim();
  await untilReady(cluster, task);
  const seen: Seen[] = [];
  for (let count = 0; count < MOVES; count++) {
    const startMs = Date.now();
    const move = JSON.parse(
      await cluster.run('skein', 'migrate', task, count % 2 === 0 ? '3' : '2', '--json'),
    ) as Move;
    const endMs = Date.now();
    // Let the process write of its gap, and settle, before the next move.
    await pause(BETWEEN_MOVES_MS);
    seen.push({ ...move, gapMs: longestGap(await cluster.run('skein', 'logs', task), startMs, endMs) });
  }
  await cluster.run('skein', 'kill', '-s', 'TERM', task);
  await cluster.run('skein', 'wait', task);
  const output = await cluster.run('skein', 'logs', task);
  if (!/^ok /m.test(output)) throw new Error(`hotset found its memory changed: ${output.slice(-300)}`);
  return seen;
}

async function untilReady(cluster: Cluster, task: string): Promise<void> {
  const deadlineMs = Date.now() + READY_LIMIT_MS;
  while (!/^ready$/m.test(await cluster.run('skein', 'logs', task))) {
    if (Date.now() > deadlineMs)
      throw new Error(`${task} did not fill its memory in ${READY_LIMIT_MS / 1000} s`);
    await pause(200);
  }
}

function longestGap(output: string, startMs: number, endMs: number): number {
  const gaps = [...output.matchAll(/^gap (\S+) (\S+)$/gm)].map((match) => ({
    ms: Number(match[1]),
    endedMs: Number(match[2]),
  }));
  // A gap that began before the move's end may end a little after it.
  const within = gaps.filter((gap) => gap.endedMs >= startMs && gap.endedMs - gap.ms <= endMs);
  return Math.max(0, ...within.map((gap) => gap.ms));
}
