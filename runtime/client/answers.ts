/*
 * Turns answers of the agent into the public types, or says what does not fit. Fields that are not known here
 * are kept: a newer agent may say more.
 */
import { BadAnswerError } from './errors.js';
import type { Logs, MoveResult, NodeInfo, NodeState, Reason, TaskInfo, TaskState, Why } from './types.js';

type Fields = Readonly<Record<string, unknown>>;

const NODE_STATES: readonly NodeState[] = ['joining', 'alive', 'suspect', 'dead', 'draining'];
const TASK_STATES: readonly TaskState[] = ['starting', 'running', 'stopped', 'migrating', 'ended', 'lost'];

export function readNodes(answer: Fields): NodeInfo[] {
  return list(answer, 'nodes').map((fields) => ({
    node: number(fields, 'node'),
    address: text(fields, 'address'),
    state: oneOf(fields, 'state', NODE_STATES),
    load: number(fields, 'load'),
    speed: number(fields, 'speed'),
    cpus: number(fields, 'cpus'),
    memoryTotal: number(fields, 'memoryTotal'),
    memoryFree: number(fields, 'memoryFree'),
    tasks: number(fields, 'tasks'),
    ageMs: fields['ageMs'] === null || fields['ageMs'] === undefined ? null : number(fields, 'ageMs'),
  }));
}

export function readTasks(answer: Fields): TaskInfo[] {
  return list(answer, 'tasks').map((fields) => ({
    ...clean(fields),
    task: text(fields, 'task'),
    pid: number(fields, 'pid'),
    home: number(fields, 'home'),
    host: number(fields, 'host'),
    state: oneOf(fields, 'state', TASK_STATES),
    user: text(fields, 'user'),
    command: text(fields, 'command'),
    cpuSeconds: number(fields, 'cpuSeconds'),
    residentBytes: number(fields, 'residentBytes'),
    moves: number(fields, 'moves'),
    epoch: number(fields, 'epoch'),
  }));
}

export function readMove(answer: Fields): MoveResult {
  return {
    task: text(answer, 'task'),
    from: number(answer, 'from'),
    to: number(answer, 'to'),
    mode: text(answer, 'mode'),
    rounds: number(answer, 'rounds'),
    bytesTotal: number(answer, 'bytesTotal'),
    bytesFrozen: number(answer, 'bytesFrozen'),
    downtimeMs: number(answer, 'downtimeMs'),
    totalMs: number(answer, 'totalMs'),
  };
}

export function readWhy(answer: Fields): Why {
  const reasons: Reason[] = list(answer, 'reasons').map((fields) => ({
    pid: number(fields, 'pid'),
    kind: text(fields, 'kind'),
    detail: text(fields, 'detail'),
  }));
  return { movable: boolean(answer, 'movable'), reasons, lastDecision: answer['lastDecision'] ?? null };
}

export function readStatus(answer: Fields): number {
  return number(answer, 'status');
}

export function readLogs(answer: Fields): Logs {
  return { stdout: text(answer, 'stdout'), stderr: text(answer, 'stderr'), ended: boolean(answer, 'ended') };
}

/** Without what belongs to the envelope. */
export function clean(fields: Fields): Record<string, unknown> {
  const { v: _v, t: _t, id: _id, re: _re, ...rest } = fields;
  return rest;
}

function list(fields: Fields, name: string): Fields[] {
  const value = fields[name];
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'object' || item === null))
    wrong(name, value);
  return value as Fields[];
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'number' || !Number.isFinite(value)) wrong(name, value);
  return value;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (typeof value !== 'string') wrong(name, value);
  return value;
}

function boolean(fields: Fields, name: string): boolean {
  const value = fields[name];
  if (typeof value !== 'boolean') wrong(name, value);
  return value;
}

function oneOf<T extends string>(fields: Fields, name: string, values: readonly T[]): T {
  const value = fields[name];
  const found = values.find((one) => one === value);
  if (found === undefined) wrong(name, value);
  return found;
}

function wrong(name: string, value: unknown): never {
  throw new BadAnswerError(
    `the agent's answer has ${name} = ${describe(value)}; are agent and command of one version?`,
  );
}

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 80);
}
