import { describe, expect, it } from 'vitest';
import { pick, seededRng } from '../../../scheduler/rng.js';

describe('chance', () => {
  it('is repeatable by its seed', () => {
    const sequence = (seed: number): number[] => Array.from({ length: 20 }, seededRng(seed));
    expect(sequence(4711)).toEqual(sequence(4711));
    expect(sequence(4711)).not.toEqual(sequence(4712));
  });

  it('lies in [0, 1), evenly', () => {
    const rng = seededRng(1);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let round = 0; round < 10_000; round++) {
      const value = rng();
      expect(value >= 0 && value < 1).toBe(true);
      const bin = Math.floor(value * 10);
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });

  it('picks each of some items, and nothing of none', () => {
    const rng = seededRng(2);
    const picked = new Set(Array.from({ length: 100 }, (): unknown => pick(['a', 'b', 'c'], rng)));
    expect(picked).toEqual(new Set(['a', 'b', 'c']));
    const nothing: readonly string[] = [];
    expect(pick(nothing, rng)).toBeUndefined();
    expect(pick(['only'], () => 0.999_999)).toBe('only');
  });
});
