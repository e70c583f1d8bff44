/*
 * What this node is and how busy it is.
 *
 * A node that is a machine counts the machine's runnable threads (/proc/loadavg). A node of a one-machine cluster has a
 * pid namespace of its own, and counts the threads in it: a process that uses the CPU changes its CPU time or is in
 * state R at the moment of counting.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { cpu, disksIO, mem, networkStats } from 'systeminformation';

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
  readonly diskBytesPerSecond: number;
  /** Received and sent by the machine's interface to others, bytes a second. */
  readonly networkBytesPerSecond: number;
}

/** In samples, one a second. systeminformation starts programs to learn of disks and interfaces. */
const MEMORY_EVERY = 5;
const TRAFFIC_EVERY = 30;
const MOST_PROCESSES = 10_000;

export async function nodeFacts(isolate: number | null, own: number | null): Promise<NodeFacts> {
  const { cores, brand } = await cpu();
  const machine = cores > 0 ? cores : cpus().length;
  return { cpus: own ?? (isolate === null ? machine : Math.max(1, machine / isolate)), model: brand };
}

export class Probe {
  private count = 0;
  private memory = { memoryTotal: totalmem(), memoryFree: freemem() };
  private traffic = { diskBytesPerSecond: 0, networkBytesPerSecond: 0 };
  private isMeasuring = false;

  /** `failed` hears of what could not be measured; the last value stays. */
  constructor(
    private readonly isIsolated: boolean,
    private readonly failed: (error: unknown) => void,
  ) {}

  sample(): Sample {
    const runnable = this.isIsolated ? countInNamespace() : countOnMachine();
    // Not waited for: whatever the machine is slow to tell, the sample of its load must not be late.
    if (!this.isMeasuring) this.measure(this.count).catch(this.failed);
    this.count++;
    return { ...this.memory, ...this.traffic, runnable };
  }

  private async measure(count: number): Promise<void> {
    this.isMeasuring = true;
    try {
      if (count % MEMORY_EVERY === 0) this.memory = await measureMemory();
      if (count % TRAFFIC_EVERY === 0) this.traffic = await measureTraffic();
    } finally {
      this.isMeasuring = false;
    }
  }
}

async function measureMemory(): Promise<{ memoryTotal: number; memoryFree: number }> {
  const { total, available } = await mem();
  return { memoryTotal: total, memoryFree: available };
}

/** The mean since it was asked before. */
async function measureTraffic(): Promise<{ diskBytesPerSecond: number; networkBytesPerSecond: number }> {
  const [disks, interfaces] = await Promise.all([disksIO(), networkStats()]);
  // Null where the kernel does not tell, in spite of its type; and null rates until they are asked a second time.
  const io = disks as typeof disks | null;
  const sectors = positive(io?.rIO_sec) + positive(io?.wIO_sec);
  const bytes = interfaces.map(({ rx_sec, tx_sec }) => positive(rx_sec) + positive(tx_sec));
  return {
    diskBytesPerSecond: sectors * SECTOR_BYTES,
    networkBytesPerSecond: bytes.reduce((sum, one) => sum + one, 0),
  };
}

function positive(rate: number | null | undefined): number {
  return Math.max(0, rate ?? 0);
}

const SECTOR_BYTES = 512;

/** The fourth field of /proc/loadavg is `runnable/all`; one of them reads it. */
function countOnMachine(): number {
  const [, , , threads = ''] = readFileSync('/proc/loadavg', 'utf8').split(' ');
  const runnable = Number(threads.split('/')[0]);
  return Number.isFinite(runnable) ? Math.max(0, runnable - 1) : 0;
}

/* Synchronous: these files come from memory, and each asynchronous read costs ten times as much. */
function countInNamespace(): number {
  const own = String(process.pid);
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== own);
  return pids.slice(0, MOST_PROCESSES).reduce((sum, pid) => sum + countProcess(pid), 0);
}

function countProcess(pid: string): number {
  const stat = readStat(`/proc/${pid}/stat`);
  if (stat === null) return 0;
  // In order: state, …, the 18th after the name is the number of threads (proc_pid_stat(5)).
  if (Number(stat[17]) <= 1) return isRunnable(stat) ? 1 : 0;
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
  return threads
    .slice(0, MOST_PROCESSES)
    .map((thread) => readStat(`/proc/${pid}/task/${thread}/stat`))
    .filter((one) => one !== null && isRunnable(one)).length;
}

function isRunnable(stat: readonly string[]): boolean {
  return stat[0] === 'R';
}

const buffer = Buffer.alloc(4_096);

/** The fields after the name, or null when it has ended meanwhile. */
function readStat(path: string): string[] | null {
  let file: number | null = null;
  try {
    file = openSync(path, 'r');
    const text = buffer.toString('latin1', 0, readSync(file, buffer));
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  } finally {
    if (file !== null) closeSync(file);
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ESRCH';
}
