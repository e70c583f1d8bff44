/*
 * What this node is and how busy it is.
 *
 * A node that is a machine counts the machine's runnable threads (/proc/loadavg). A node of a one-machine cluster has a
 * pid namespace of its own, and counts the threads in it: a process that uses the CPU changes its CPU time or is in
 * state R at the moment of counting.
 */
import { readdir, readFile } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';
import { cpu, disksIO, mem } from 'systeminformation';

export interface NodeFacts {
  readonly cpus: number;
  readonly model: string;
}

export interface Sample {
  /** Threads that run or wait for a CPU. */
  readonly runnable: number;
  /** Bytes. */
  readonly memoryTotal: number;
  readonly memoryFree: number;
  /** Read and written by the machine's disks, bytes a second; 0 where that is not told. */
  readonly ioBytesPerSecond: number;
}

/** Memory and disks change slowly and cost more to ask. */
const SLOW_EVERY = 5;
const MOST_PROCESSES = 10_000;

export async function nodeFacts(isolate: number | null, own: number | null): Promise<NodeFacts> {
  const { cores, brand } = await cpu();
  const machine = cores > 0 ? cores : cpus().length;
  return { cpus: own ?? (isolate === null ? machine : Math.max(1, machine / isolate)), model: brand };
}

export class Probe {
  private count = 0;
  private slow = { memoryTotal: totalmem(), memoryFree: freemem(), ioBytesPerSecond: 0 };

  constructor(private readonly isIsolated: boolean) {}

  async sample(): Promise<Sample> {
    if (this.count++ % SLOW_EVERY === 0) this.slow = await measureSlow();
    const runnable = this.isIsolated ? await countInNamespace() : await countOnMachine();
    return { ...this.slow, runnable };
  }
}

async function measureSlow(): Promise<Omit<Sample, 'runnable'>> {
  const [memory, disks] = await Promise.all([mem(), disksIO()]);
  // Null where the kernel does not tell, in spite of its type.
  const io = disks as typeof disks | null;
  return {
    memoryTotal: memory.total,
    memoryFree: memory.available,
    ioBytesPerSecond: Math.max(0, (io?.rIO_sec ?? 0) + (io?.wIO_sec ?? 0)) * SECTOR_BYTES,
  };
}

const SECTOR_BYTES = 512;

/** The fourth field of /proc/loadavg is `runnable/all`; one of them reads it. */
async function countOnMachine(): Promise<number> {
  const [, , , threads = ''] = (await readFile('/proc/loadavg', 'utf8')).split(' ');
  const runnable = Number(threads.split('/')[0]);
  return Number.isFinite(runnable) ? Math.max(0, runnable - 1) : 0;
}

async function countInNamespace(): Promise<number> {
  const own = String(process.pid);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== own);
  const counts = await Promise.all(pids.slice(0, MOST_PROCESSES).map(countProcess));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function countProcess(pid: string): Promise<number> {
  const stat = await readStat(`/proc/${pid}/stat`);
  if (stat === null) return 0;
  // In order: state, …, the 18th after the name is the number of threads (proc_pid_stat(5)).
  if (Number(stat[17]) <= 1) return isRunnable(stat) ? 1 : 0;
  let threads: string[];
  try {
    threads = await readdir(`/proc/${pid}/task`);
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
  const stats = await Promise.all(threads.map((thread) => readStat(`/proc/${pid}/task/${thread}/stat`)));
  return stats.filter((one) => one !== null && isRunnable(one)).length;
}

function isRunnable(stat: readonly string[]): boolean {
  return stat[0] === 'R';
}

/** The fields after the name, or null when it has ended meanwhile. */
async function readStat(path: string): Promise<string[] | null> {
  try {
    const text = await readFile(path, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ESRCH';
}
