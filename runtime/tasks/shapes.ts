/*
 * Shapes of messages about tasks.
 */
import { MAP_LIMITS } from '../base/map.js';
import {
  boolean,
  bytes,
  integer,
  list,
  matching,
  object,
  oneOf,
  optional,
  real,
  text,
  type Check,
} from '../base/schema.js';
import { parseTaskId } from '../base/ids.js';

const MOST_STRINGS = 100_000;
const MOST_BYTES = 1 << 20;
const MOST_SECONDS = 1e12;

export const taskName: Check<string> = (value, path) => {
  const name = text(32)(value, path);
  if (parseTaskId(name) === null) throw new Error(`${path}: is no task`);
  return name;
};
export const epoch = integer(0, 2 ** 32 - 1);
export const userId = integer(0, 2 ** 32 - 2);
export const nodeNumber = integer(1, MAP_LIMITS.node);
const z85 = matching(/^[0-9a-zA-Z.:+=^!/*?&<>()[\]{}@%$#-]{40}$/, 'key');
const endpoint = matching(/^tcp:\/\/\d{1,3}(\.\d{1,3}){3}:\d{1,5}$/, 'endpoint');

const doorFields = { endpoint, serverKey: z85, clientSecret: z85, clientPublic: z85 };
export const readDoor = object(doorFields);

export const readPolicy = object({
  stay: boolean,
  terminal: boolean,
  moves: integer(0, 1e9),
  /** How much longer its place counts as chosen by hand. */
  pinnedForMs: integer(0, 1e9),
  allowed: optional(list(nodeNumber, 1000), null),
});
export type Policy = ReturnType<typeof readPolicy>;

/** From its home to a host: start it, or receive it. */
export const readAssignment = object({
  task: taskName,
  home: nodeNumber,
  epoch,
  uid: userId,
  gid: userId,
  name: optional(text(80), ''),
  deputy: readDoor,
  policy: readPolicy,
});

/** A start asked for by runon. */
export const readStart = object({
  argv: list(bytes(MOST_BYTES), MOST_STRINGS),
  /** Only of a detached task: a runon that is its own deputy tells the host itself. */
  env: optional(list(bytes(MOST_BYTES), MOST_STRINGS), []),
  cwd: optional(bytes(65_536), null),
  umask: optional(integer(0, 0o777), 0),
  nice: optional(integer(-20, 19), 0),
  node: matching(/^(home|best|\d{1,5}(,\d{1,5}){0,99})$/, 'node'),
  stay: optional(boolean, false),
  tty: optional(boolean, false),
  detach: optional(boolean, false),
  name: optional(text(80), ''),
});
export type StartRequest = ReturnType<typeof readStart>;

export const readTaskEpoch = object({ task: taskName, epoch });

/** Who has a task, by its deputy. Host 0: it does not know. */
export const readClaim = object({
  task: taskName,
  epoch,
  host: optional(integer(0, MAP_LIMITS.node), 0),
});

export const readDeputyAnnounce = object({
  task: taskName,
  epoch,
  state: oneOf('starting', 'running', 'stopped'),
  command: text(1024),
  name: optional(text(80), ''),
  stay: boolean,
  tty: boolean,
  detach: boolean,
  asleep: optional(boolean, false),
  silentMs: optional(integer(0, 1e12), 0),
  host: integer(0, MAP_LIMITS.node),
  endpoint: optional(endpoint, ''),
  moves: integer(0, 1e9),
  startedMs: integer(0, Number.MAX_SAFE_INTEGER),
});
export type DeputyAnnounce = ReturnType<typeof readDeputyAnnounce>;

export const readEnded = object({
  task: taskName,
  status: integer(0, 0xffff_ffff),
  cpuSeconds: real(0, MOST_SECONDS),
});

export const readShepherdAnnounce = object({
  task: taskName,
  epoch,
  state: oneOf('starting', 'running', 'stopped', 'ended'),
  pid: integer(0, 2 ** 31),
  cpuSeconds: real(0, MOST_SECONDS),
  residentBytes: integer(0, Number.MAX_SAFE_INTEGER),
  runnable: integer(0, 1e6),
  command: text(4096),
});
export type ShepherdAnnounce = ReturnType<typeof readShepherdAnnounce>;

/** From a host to a task's home, each second. */
export const readReport = object({
  task: taskName,
  epoch,
  pid: integer(0, 2 ** 31),
  cpuSeconds: real(0, MOST_SECONDS),
  residentBytes: integer(0, Number.MAX_SAFE_INTEGER),
  runnable: integer(0, 1e6),
  /** The host knows nothing of the task's policy: its agent was restarted. */
  wantsPolicy: boolean,
});
export type Report = ReturnType<typeof readReport>;

/** From a host to a task's home: a shepherd has ended. */
export const readGone = object({ task: taskName, epoch, held: boolean, reason: text(500) });

export const readSent = object({
  rounds: integer(0, 1e6),
  bytesTotal: integer(0, Number.MAX_SAFE_INTEGER),
  bytesFrozen: integer(0, Number.MAX_SAFE_INTEGER),
  downtimeMs: real(0, 1e9),
  totalMs: real(0, 1e9),
});

export const readWhy = object({
  movable: boolean,
  reasons: list(object({ pid: integer(0, 2 ** 31), kind: text(64), detail: text(1024) }), 1000),
});
export type WhyAnswer = ReturnType<typeof readWhy>;
