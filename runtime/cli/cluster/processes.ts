/*
 * What of a cluster runs: by its pid files, and for what a crash has left, by what /proc tells of the namespaces
 * and environment of each process.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
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
  const mark = ` ${folder}/`;
  const state = `SKEIN_STATE=${folder}/`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !spare.has(pid))
    .filter(
      (pid) =>
        read(pid, 'mountinfo')
          .split('\n')
          .some((line) => mountsFrom(line, folder) || line.includes(mark)) ||
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

/**
 * A line of mountinfo: a node's own /srv, which is a folder of the cluster's. It names that folder from the root of its
 * file system, of which we may see more or less: one path is the other's end.
 */
function mountsFrom(line: string, folder: string): boolean {
  const [, , , root = '', place] = line.split(' ');
  const [, cluster = ''] = /^(\/.+)\/\d+\/srv$/.exec(root) ?? [];
  return place === '/srv' && cluster !== '' && (cluster.endsWith(folder) || folder.endsWith(cluster));
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
function read(pid: number, name: string): string {
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
