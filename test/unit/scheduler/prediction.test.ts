import { describe, expect, it } from 'vitest';
import { predictedLoad, withPrediction, type Prediction } from '../../../scheduler/prediction.js';
import { row } from './examples.js';

describe('a prediction', () => {
  const came: Prediction = { node: 2, threads: 1, atMs: 1_000 };

  it('counts an arrival in full until it is measured', () => {
    expect(predictedLoad(row(2, { measuredAtMs: 500 }), [came], 1_200)).toBe(1);
    expect(predictedLoad(row(2, { measuredAtMs: 500, cpus: 4 }), [came], 1_200)).toBe(0.25);
  });

  it('fades as the load rises by itself: together they are always the whole', () => {
    // One sample: the node shows 3/8 of it, 5/8 are predicted.
    expect(predictedLoad(row(2, { load: 0.375, measuredAtMs: 2_000 }), [came], 2_000)).toBeCloseTo(1, 9);
    expect(predictedLoad(row(2, { load: 0.609_375, measuredAtMs: 3_000 }), [came], 3_000)).toBeCloseTo(1, 9);
  });

  it('counts a departure until the first sample, which shows it', () => {
    const went: Prediction = { node: 2, threads: -1, atMs: 1_000 };
    expect(predictedLoad(row(2, { load: 3, measuredAtMs: 1_000 }), [went], 1_100)).toBe(2);
    expect(predictedLoad(row(2, { load: 3, measuredAtMs: 1_500 }), [went], 1_600)).toBe(3);
    expect(predictedLoad(row(2, { load: 0.2 }), [went], 1_100)).toBe(0);
  });

  it('is about one node and is forgotten', () => {
    expect(predictedLoad(row(3), [came], 1_200)).toBe(0);
    expect(predictedLoad(row(2, { measuredAtMs: 500 }), [came], 16_000)).toBe(0);
    expect(withPrediction([came], { node: 3, threads: 1, atMs: 16_000 })).toHaveLength(1);
  });

  it('is one of a bounded number', () => {
    let all: readonly Prediction[] = [];
    for (let count = 0; count < 1_500; count++) all = withPrediction(all, came);
    expect(all).toHaveLength(1_000);
  });
});
