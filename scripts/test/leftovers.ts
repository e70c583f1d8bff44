import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';

/*
 * Every suite runs with a random mark in its environment. Whatever it starts inherits the mark, however often
 * it forks, becomes a daemon or changes its namespaces, so that after the suite (or after its time is up) all
 * that is left of it can be found and ended by pid.
 */
export const MARK_VARIABLE = 'SKEIN_TEST_MARK';

const GRACE_MS = 5_000;
const LOOK_AGAIN_MS = 100;

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

async function readProcess(pid: number, mark: string): Promise<Leftover | null> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    if (!environment.split('\0').includes(`${MARK_VARIABLE}=${mark}`)) return null;
    const command = await readFile(`/proc/${pid}/cmdline`, 'latin1');
    // A process without a command line has ended and waits to be reaped.
    return command === '' ? null : { pid, command: command.replaceAll('\0', ' ').trim() };
  } catch (error) {
    // It ended while we looked, or it belongs to someone else.
    if (error instanceof Error) return null;
    throw error;
  }
}

/** The living processes that carry the mark. */
export async function findMarked(mark: string): Promise<Leftover[]> {
  const names = await readdir('/proc');
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.filter((pid) => pid !== process.pid).map((pid) => readProcess(pid, mark)),
  );
  return found.filter((one) => one !== null);
}

/** Gives what is still ending a moment, then kills the rest. Returns what had to be killed. */
export async function endMarked(mark: string, graceMs: number = GRACE_MS): Promise<Leftover[]> {
  const deadlineMs = Date.now() + graceMs;
  let left = await findMarked(mark);
  while (left.length > 0 && Date.now() < deadlineMs) {
    await pause(LOOK_AGAIN_MS);
    left = await findMarked(mark);
  }
  const killed = left;
  while (left.length > 0) {
    for (const { pid } of left) killIfThere(pid);
    await pause(LOOK_AGAIN_MS);
    left = await findMarked(mark);
    if (Date.now() > deadlineMs + GRACE_MS)
      throw new Error(`could not end: ${left.map((one) => one.pid).join(' ')}`);
  }
  return killed;
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
