/*
 * Which processes there are of a cluster. Whatever it starts carries a mark of the test's in its environment,
 * however it was started.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';

export const MARK = 'SKEIN_TEST_CLUSTER';

export interface Process {
  readonly pid: number;
  readonly program: string;
  readonly command: string;
}

async function look(pid: number, mark: string): Promise<Process | null> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    if (!environment.split('\0').includes(`${MARK}=${mark}`)) return null;
    const command = (await readFile(`/proc/${pid}/cmdline`, 'latin1')).replaceAll('\0', ' ').trim();
    // One that has ended and waits to be reaped has no command line.
    if (command === '') return null;
    return { pid, program: basename(await readlink(`/proc/${pid}/exe`)), command };
  } catch (error) {
    // It ended while we looked, or belongs to someone else.
    if (error instanceof Error && 'code' in error) return null;
    throw error;
  }
}

export async function processesOf(mark: string): Promise<Process[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map((pid) => look(pid, mark)));
  return found.filter((one) => one !== null);
}
