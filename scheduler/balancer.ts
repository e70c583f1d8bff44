/*
 * Which task to send where: at most one, by the classic rule of MOSIX.
 *
 * The candidate is the movable task with the second-highest load (the highest is likely to be the one that
 * this node was chosen for), or the only one. Each node that could take it is rated by its load and 1.3 times
 * what the task would add there; the lowest wins, if that is clearly below the load here. Three things keep
 * it calm: load must have called for a move in several plans in a row, a task that has just come stays a
 * while, and what was just sent counts where it went before it shows there.
 */
import { loadOfThreads, type Board, type BoardRow } from './board.js';
import { predictedLoad, withPrediction, type Prediction } from './prediction.js';
import { eligible } from './placement.js';
import { pick, type Rng } from './rng.js';
import type { Liveness } from './suspicion.js';

/** A task that runs on this node, as the balancer sees it. */
export interface BalancerTask {
  readonly task: string;
  readonly state: 'starting' | 'running' | 'stopped' | 'migrating';
  /** Threads that run or wait for a CPU, averaged over the last seconds. */
  readonly threads: number;
  readonly residentBytes: number;
  /** When it came to this host (started, or resumed here). */
  readonly arrivedAtMs: number;
  /** How often it has changed host. */
  readonly moves: number;
  /** `--stay`. */
  readonly stay: boolean;
  /** It has a terminal. */
  readonly terminal: boolean;
  /** Until then its place was chosen by hand. */
  readonly pinnedUntilMs: number;
  /** Null: may run anywhere. */
  readonly allowed: readonly number[] | null;
  /** Why the engine says it can't move, if known. */
  readonly immovable: string | null;
}

/** What the balancer remembers from plan to plan. */
export interface BalancerMemory {
  /** How many plans in a row wanted a move. */
  readonly wanted: number;
  readonly predictions: readonly Prediction[];
  /** Tasks to leave alone for a while after a failed move. */
  readonly refusals: readonly Refusal[];
}

interface Refusal {
  readonly task: string;
  readonly count: number;
  readonly untilMs: number;
}

export const FRESH_MEMORY: BalancerMemory = { wanted: 0, predictions: [], refusals: [] };

export interface PlanInput {
  readonly self: number;
  readonly board: Board;
  readonly liveness: ReadonlyMap<number, Liveness>;
  readonly tasks: readonly BalancerTask[];
  readonly memory: BalancerMemory;
  readonly nowMs: number;
  readonly rng: Rng;
}

export interface Plan {
  /** The move to make, or null. */
  readonly move: { readonly task: string; readonly from: number; readonly to: number } | null;
  /** One line each, for the log and `skein why`. */
  readonly reasons: readonly string[];
  readonly memory: BalancerMemory;
}

/** How much more a task weighs where it would go: its move is not free. */
const OWN_WEIGHT = 1.3;
/** The rating must be below this part of the load here: samples err. */
const CLEARLY_BELOW = 0.85;
const PLANS_IN_A_ROW = 3;
/** Younger tasks may end by themselves before they have moved. */
const RESIDENCY_STARTED_MS = 2_000;
/** One that was moved here stays at least so long. */
const RESIDENCY_MOVED_MS = 10_000;
/** It stays so many times as long as its move takes. */
const RESIDENCY_MOVES = 5;
const ASSUMED_BYTES_PER_SECOND = 200e6;
/** Below this it would relieve nobody. */
const BUSY_THREADS = 0.25;
const MEMORY_HEADROOM = 1.2;
const REFUSAL_FIRST_MS = 10_000;
const REFUSAL_LONGEST_MS = 300_000;
const MOST_REFUSALS = 1_000;

/** Why the balancer leaves this task where it is, or null if it may be moved. */
export function heldBy(task: BalancerTask, memory: BalancerMemory, nowMs: number): string | null {
  if (task.stay) return 'started with --stay';
  if (task.terminal) return 'it has a terminal';
  if (task.state !== 'running') return `it is ${task.state}`;
  if (task.immovable !== null) return task.immovable;
  if (nowMs < task.pinnedUntilMs)
    return `its place was chosen by hand; left alone for another ${seconds(task.pinnedUntilMs - nowMs)}`;
  const residencyMs = Math.max(
    task.moves === 0 ? RESIDENCY_STARTED_MS : RESIDENCY_MOVED_MS,
    (RESIDENCY_MOVES * 1000 * task.residentBytes) / ASSUMED_BYTES_PER_SECOND,
  );
  const hereMs = nowMs - task.arrivedAtMs;
  if (hereMs < residencyMs) return `it came here ${seconds(hereMs)} ago and stays ${seconds(residencyMs)}`;
  const refusal = memory.refusals.find((one) => one.task === task.task);
  if (refusal !== undefined && nowMs < refusal.untilMs)
    return `its last move failed; tried again in ${seconds(refusal.untilMs - nowMs)}`;
  if (task.threads < BUSY_THREADS) return 'it is idle';
  return null;
}

export function plan(input: PlanInput): Plan {
  const { self, board, tasks, memory, nowMs } = input;
  const calm = { ...memory, wanted: 0 };
  const here = board.get(self);
  if (here === undefined) return none(calm, 'this node has not measured itself yet');

  const candidate = choose(tasks.filter((task) => heldBy(task, memory, nowMs) === null));
  if (candidate === undefined) return none(calm, 'no task here may be moved');

  const localLoad = predictedLoad(here, memory.predictions, nowMs);
  const target = bestTarget(input, candidate);
  if (target === undefined) return none(calm, `no other node can take ${candidate.task}`);

  const rating =
    `load here ${localLoad.toFixed(2)}; ${candidate.task} on node ${target.row.node} ` +
    `would be rated ${target.rating.toFixed(2)}`;
  if (target.rating >= localLoad * CLEARLY_BELOW) return none(calm, `${rating}: not clearly better`);
  const wanted = memory.wanted + 1;
  if (wanted < PLANS_IN_A_ROW)
    return none({ ...memory, wanted }, `${rating}: better, if it stays so (${wanted} of ${PLANS_IN_A_ROW})`);
  return { move: { task: candidate.task, from: self, to: target.row.node }, reasons: [rating], memory: calm };
}

/** The second-highest load, or the only one; of equal loads the smaller, which moves faster. */
function choose(tasks: readonly BalancerTask[]): BalancerTask | undefined {
  const grade = (task: BalancerTask): number => Math.round(task.threads / BUSY_THREADS);
  const byLoad = [...tasks].sort(
    (one, other) => grade(other) - grade(one) || other.residentBytes - one.residentBytes,
  );
  return byLoad[1] ?? byLoad[0];
}

function bestTarget(
  { self, board, liveness, memory, nowMs, rng }: PlanInput,
  task: BalancerTask,
): { row: BoardRow; rating: number } | undefined {
  const rated = eligible({ self, board, liveness, allowed: task.allowed ?? undefined })
    .filter((row) => row.node !== self && row.memoryFree > task.residentBytes * MEMORY_HEADROOM)
    .map((row) => ({
      row,
      rating: predictedLoad(row, memory.predictions, nowMs) + OWN_WEIGHT * loadOfThreads(row, task.threads),
    }));
  const least = Math.min(...rated.map(({ rating }) => rating));
  // Of equals one by chance: several busy nodes must not all choose the same.
  return pick(
    rated.filter(({ rating }) => rating - least < SAME_RATING),
    rng,
  );
}

const SAME_RATING = 0.05;

/** Something with so many busy threads has left `from` (null: it is new) for `to`. */
export function afterMove(
  memory: BalancerMemory,
  { from, to, threads, nowMs }: { from: number | null; to: number; threads: number; nowMs: number },
): BalancerMemory {
  let { predictions } = memory;
  predictions = withPrediction(predictions, { node: to, threads, atMs: nowMs });
  if (from !== null)
    predictions = withPrediction(predictions, { node: from, threads: -threads, atMs: nowMs });
  return { ...memory, wanted: 0, predictions };
}

/** The move of a task failed: leave it alone, each time twice as long. */
export function afterFailure(memory: BalancerMemory, task: string, nowMs: number): BalancerMemory {
  const count = (memory.refusals.find((one) => one.task === task)?.count ?? 0) + 1;
  const untilMs = nowMs + Math.min(REFUSAL_FIRST_MS * 2 ** (count - 1), REFUSAL_LONGEST_MS);
  const others = memory.refusals.filter(
    (one) => one.task !== task && nowMs - one.untilMs < REFUSAL_LONGEST_MS,
  );
  return { ...memory, wanted: 0, refusals: [...others, { task, count, untilMs }].slice(-MOST_REFUSALS) };
}

function none(memory: BalancerMemory, reason: string): Plan {
  return { move: null, reasons: [reason], memory };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
