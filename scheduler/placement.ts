import { loadOfThreads, type Board, type BoardRow } from './board.js';
import { predictedLoad, type Prediction } from './prediction.js';
import { pick, type Rng } from './rng.js';
import type { Liveness } from './suspicion.js';

export interface Placement {
  readonly self: number;
  readonly board: Board;
  readonly liveness: ReadonlyMap<number, Liveness>;
  /** Where it may run; absent: anywhere. */
  readonly allowed?: readonly number[] | undefined;
  readonly predictions: readonly Prediction[];
  readonly nowMs: number;
  readonly rng: Rng;
}

/** Loads that differ by less are the same. */
const SAME_LOAD = 0.05;

/** Nodes that can take a task: alive (self always is), not draining, allowed. */
export function eligible({
  self,
  board,
  liveness,
  allowed,
}: Pick<Placement, 'self' | 'board' | 'liveness' | 'allowed'>): BoardRow[] {
  return [...board.values()].filter(
    (row) =>
      (row.node === self || liveness.get(row.node) === 'alive') &&
      !row.draining &&
      (allowed === undefined || allowed.includes(row.node)),
  );
}

/**
 * The node on which one more busy thread would raise load to the least; of equals the one asked, else one by
 * chance. Null if none can take it. Tell the others by withPrediction that something goes there.
 */
export function best(placement: Placement): number | null {
  const { self, predictions, nowMs, rng } = placement;
  const scored = eligible(placement).map((row) => ({
    node: row.node,
    load: predictedLoad(row, predictions, nowMs) + loadOfThreads(row, 1),
  }));
  if (scored.length === 0) return null;
  const least = Math.min(...scored.map(({ load }) => load));
  const equal = scored.filter(({ load }) => load - least < SAME_LOAD).map(({ node }) => node);
  return equal.includes(self) ? self : (pick(equal, rng) ?? null);
}
