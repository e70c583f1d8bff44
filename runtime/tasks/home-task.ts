/*
 * What a task's home knows of it while it runs.
 */
import { wallSeconds } from './text.js';
import type { Native } from './ports.js';
import type { EndedTask } from './history.js';
import type { Policy } from './shapes.js';

export interface Move {
  readonly to: number;
  /** To be given up: what was to receive it is gone. */
  readonly giveUp: AbortController;
}

export interface GoneShepherd {
  readonly epoch: number;
  /** Whether it said that it had the task: a target has it only from the claim on. */
  readonly held: boolean;
  readonly reason: string;
}

export interface HomeTask {
  readonly task: string;
  readonly uid: number;
  readonly gid: number;
  command: string;
  name: string;
  stay: boolean;
  tty: boolean;
  detach: boolean;
  /** Where it may run; null: anywhere. */
  allowed: readonly number[] | null;
  /** Until then its place counts as chosen by hand. */
  pinnedUntilMs: number;
  host: number;
  epoch: number;
  state: 'starting' | 'running' | 'stopped';
  moves: number;
  startedAtMs: number;
  pid: number;
  cpuSeconds: number;
  residentBytes: number;
  deputy: Native | null;
  /** Where its deputy listens for hosts. */
  endpoint: string;
  /** When its deputy last told of it. */
  announcedMs: number;
  /** When it was last tried whether its deputy listens still. */
  knockedMs: number;
  /** Since when its deputy has been silent, if it is. */
  missedMs: number;
  /** How long its deputy has heard nothing from its host. */
  silentMs: number;
  asleep: boolean;
  /** When its host last told of it. */
  heardMs: number;
  /** Its host is being asked whether it has it. */
  isAsking: boolean;
  /** On the move. */
  move: Move | null;
  /** Shepherds of it that are gone, by their nodes. */
  readonly gone: Map<number, GoneShepherd>;
  lastDecision: unknown;
  readonly waiters: Set<(ended: EndedTask) => void>;
  /** Told when it runs, or ends before it does. */
  readonly starters: Set<(ended: EndedTask | null) => void>;
}

export function freshTask(task: string, uid: number, gid: number, nowMs: number): HomeTask {
  return {
    task,
    uid,
    gid,
    command: '',
    name: '',
    stay: false,
    tty: false,
    detach: false,
    allowed: null,
    pinnedUntilMs: 0,
    host: 0,
    epoch: 0,
    state: 'starting',
    moves: 0,
    startedAtMs: nowMs,
    pid: 0,
    cpuSeconds: 0,
    residentBytes: 0,
    deputy: null,
    endpoint: '',
    announcedMs: 0,
    knockedMs: 0,
    missedMs: 0,
    silentMs: 0,
    asleep: false,
    heardMs: 0,
    isAsking: false,
    move: null,
    gone: new Map(),
    lastDecision: null,
    waiters: new Set(),
    starters: new Set(),
  };
}

/** Why the task is lost, or null: whoever is gone did not have it. What the deputy said of host and epoch decides. */
export function lossOf({ host, epoch, gone }: HomeTask): string | null {
  const last = gone.get(host);
  if (last === undefined) return null;
  const hadIt = last.held ? last.epoch >= epoch : last.epoch === epoch;
  return hadIt ? last.reason : null;
}

export function policyOf(task: HomeTask, nowMs: number): Policy {
  return {
    stay: task.stay,
    terminal: task.tty,
    moves: task.moves,
    pinnedForMs: Math.max(0, Math.round(task.pinnedUntilMs - nowMs)),
    allowed: task.allowed === null ? null : [...task.allowed],
  };
}

/** As `skein ps` shows it. */
export function shown(task: HomeTask, home: number, user: string): Record<string, unknown> {
  return {
    task: task.task,
    pid: task.pid,
    home,
    host: task.host,
    state: task.move === null ? task.state : 'migrating',
    user,
    command: task.command,
    cpuSeconds: task.cpuSeconds,
    residentBytes: task.residentBytes,
    moves: task.moves,
    epoch: task.epoch,
    name: task.name,
    stay: task.stay,
    started: wallSeconds(task.startedAtMs),
  };
}

export function shownEnded(task: EndedTask, home: number, user: string): Record<string, unknown> {
  return {
    task: task.task,
    pid: task.pid,
    home,
    host: task.host,
    state: task.state,
    user,
    command: task.command,
    cpuSeconds: task.cpuSeconds,
    residentBytes: 0,
    moves: task.moves,
    epoch: task.epoch,
    name: task.name,
    status: task.status,
    reason: task.reason,
    ended: wallSeconds(task.endedAtMs),
  };
}
