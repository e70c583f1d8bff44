import { describe, expect, it } from 'vitest';
import { ageMs, isNewer, loadOfThreads, withRow } from '../../../scheduler/board.js';
import { boardOf, row } from './examples.js';

describe('the board', () => {
  it('tells the newer of two entries by incarnation, then sequence', () => {
    expect(isNewer(row(1, { incarnation: 2, sequence: 1 }), row(1, { incarnation: 1, sequence: 99 }))).toBe(
      true,
    );
    expect(isNewer(row(1, { incarnation: 1, sequence: 99 }), row(1, { incarnation: 2, sequence: 1 }))).toBe(
      false,
    );
    expect(isNewer(row(1, { sequence: 2 }), row(1, { sequence: 1 }))).toBe(true);
    expect(isNewer(row(1), row(1))).toBe(false);
  });

  it('is not changed in place', () => {
    const old = boardOf(row(1));
    const next = withRow(old, row(1, { load: 2 }));
    expect(old.get(1)?.load).toBe(0);
    expect(next.get(1)?.load).toBe(2);
  });

  it('has no negative ages', () => {
    expect(ageMs(row(1, { measuredAtMs: 500 }), 2_000)).toBe(1_500);
    expect(ageMs(row(1, { measuredAtMs: 500 }), 100)).toBe(0);
  });

  it('knows what threads weigh on a node', () => {
    expect(loadOfThreads(row(1, { cpus: 4, speed: 0.5 }), 3)).toBe(1.5);
    expect(loadOfThreads(row(1, { cpus: 0, speed: 0 }), 1)).toBeLessThan(Infinity);
  });
});
