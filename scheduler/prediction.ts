/*
 * What a node's load will be once a task that has just gone there shows up in it. Without this, a node would
 * send everything to the one that was idle a second ago.
 */
import { loadOfThreads, type BoardRow } from './board.js';
import { RISING_KEEPS, SAMPLE_INTERVAL_MS } from './load.js';

export interface Prediction {
  readonly node: number;
  /** Runnable threads that came, or went if negative. */
  readonly threads: number;
  readonly atMs: number;
}

const KEPT_MS = 15_000;
const MOST_KEPT = 1_000;

export function withPrediction(
  predictions: readonly Prediction[],
  prediction: Prediction,
): readonly Prediction[] {
  return [...predictions.filter((old) => prediction.atMs - old.atMs < KEPT_MS), prediction].slice(-MOST_KEPT);
}

/**
 * The row's load, corrected. Since load rises by a known rule, the part of an arrival that is not in it yet is
 * known too: RISING_KEEPS to the power of the samples taken since. Departures show in the first sample.
 */
export function predictedLoad(row: BoardRow, predictions: readonly Prediction[], nowMs: number): number {
  let load = row.load;
  for (const { node, threads, atMs } of predictions) {
    if (node !== row.node || nowMs - atMs >= KEPT_MS) continue;
    const samples = (row.measuredAtMs - atMs) / SAMPLE_INTERVAL_MS;
    if (threads >= 0) load += loadOfThreads(row, threads) * RISING_KEEPS ** Math.max(0, samples);
    else if (samples <= 0) load += loadOfThreads(row, threads);
  }
  return Math.max(0, load);
}
