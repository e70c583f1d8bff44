/*
 * What of a cluster runs: by its pid files, and for what a crash has left, by what /proc tells of the namespaces
 * and environment of each process.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { pidFileLives, readPidFile, type PidFile } from '../../client/pidfile.js';

const LOOK_AGAIN_MS = 20;

export interface Stray {
  readonly pid: number;
  readonly command: string;
}

/** The launchers and the first processes of the nodes that live. */
export function ownProcesses(states: readonly string[]): PidFile[] {
  return states
    .flatMap((state) => ['skeind.pid', 'node.pid'].map((name) => readPidFile(join(state, name))))
    .filter((file) => file !== null)
    .filter(pidFileLives);
}

/** Processes that are in a node's mounts, or were started for one; not this one and those that led to it. */
export function strays(folder: string): Stray[] {
  const spare = new Set(ancestors(process.pid));
  const place = placeOf(folder);
  const state = `SKEIN_STATE=${folder}/`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !spare.has(pid))
    .filter(
      (pid) =>
        read(pid, 'mountinfo')
          .split('\n')
          .some((line) => isSrvOf(line, place)) ||
        read(pid, 'environ')
          .split('\0')
          .some((entry) => entry.startsWith(state)),
    )
    .filter((pid) => !sameMounts(pid))
    .map((pid) => ({ pid, command: read(pid, 'cmdline').replaceAll('\0', ' ').trim() }))
    .filter(({ command }) => command !== '');
}

/** Sends the signal to those that live still, and waits until they are gone. Gives those that are not. */
export async function end(
  files: readonly PidFile[],
  signal: NodeJS.Signals,
  limitMs: number,
): Promise<PidFile[]> {
  for (const file of files) if (pidFileLives(file)) sendSignal(file.pid, signal);
  const deadlineMs = performance.now() + limitMs;
  let left = files.filter(pidFileLives);
  while (left.length > 0 && performance.now() < deadlineMs) {
    await pause(LOOK_AGAIN_MS);
    left = left.filter(pidFileLives);
  }
  return left;
}

export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** This process and those that it descends from. */
function ancestors(pid: number): number[] {
  const found: number[] = [];
  for (let at = pid; at > 0 && !found.includes(at);) {
    found.push(at);
    const stat = read(at, 'stat');
    at = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0) || 0;
  }
  return found;
}

/** Where a folder lies: which file system, and the path in it. */
interface Place {
  readonly device: string;
  readonly path: string;
}

interface Mount {
  readonly device: string;
  /** Which folder of the file system is mounted. */
  readonly root: string;
  readonly point: string;
}

/** A line of mountinfo, where blanks in names are written as `\040`. */
function parseMount(line: string): Mount {
  const [, , device = '', root = '', point = ''] = line
    .split(' ')
    .map((word) =>
      word.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8))),
    );
  return { device, root, point };
}

function placeOf(folder: string): Place {
  const real = realpathSync(folder);
  const above = read('self', 'mountinfo')
    .split('\n')
    .map(parseMount)
    .filter(({ point }) => point === '/' || real === point || real.startsWith(`${point}/`));
  // Of several mounts on one point the last one is seen.
  const mount = above.reduce((best, next) => (next.point.length >= best.point.length ? next : best), {
    device: '',
    root: '/',
    point: '/',
  });
  return { device: mount.device, path: join(mount.root, relative(mount.point, real)) };
}

/** Whether the line tells of a node's own /srv, which is a folder of the cluster's. */
function isSrvOf(line: string, { device, path }: Place): boolean {
  const mount = parseMount(line);
  return (
    mount.point === '/srv' &&
    mount.device === device &&
    mount.root.startsWith(`${path}/`) &&
    /^\d+\/srv$/.test(mount.root.slice(path.length + 1))
  );
}

function sameMounts(pid: number): boolean {
  return mountNamespace(pid) === mountNamespace('self');
}

function mountNamespace(pid: number | 'self'): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch (error) {
    if (isOutOfReach(error)) return null;
    throw error;
  }
}

/** A file of a process; empty when it has ended or is not ours to look at. */
function read(pid: number | 'self', name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch (error) {
    if (isOutOfReach(error)) return '';
    throw error;
  }
}

function isOutOfReach(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM' || code === 'EINVAL';
}
