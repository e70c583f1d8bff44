import { readFileSync } from 'node:fs';

/** skeind.pid and node.pid: `PID START MOUNTS` (native/enter/pidfile.h). */
export interface PidFile {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: tells a recycled pid. */
  readonly startTicks: string;
  /** Inode of the node's mount namespace; '0' if it has none of its own. */
  readonly mounts: string;
}

/** Null: no such file, or not a pid file. */
export function readPidFile(path: string): PidFile | null {
  const words = readOrNull(path)?.trim().split(/\s+/) ?? [];
  const [pid, startTicks, mounts = '0'] = words;
  if (pid === undefined || startTicks === undefined || !words.every((word) => /^\d+$/.test(word)))
    return null;
  return { pid: Number(pid), startTicks, mounts };
}

/** Whether the process that the file names still lives (a zombie does not). */
export function pidFileLives({ pid, startTicks }: PidFile): boolean {
  const stat = readOrNull(`/proc/${pid}/stat`);
  if (stat === null) return false;
  // The command, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] !== 'Z' && fields[0] !== 'X' && fields[19] === startTicks;
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'ENOTDIR' || code === 'EACCES') return null;
    throw error;
  }
}
