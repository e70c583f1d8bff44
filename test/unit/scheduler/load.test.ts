import { describe, expect, it } from 'vitest';
import { loadSample, smooth } from '../../../scheduler/load.js';

describe('load', () => {
  it('rises by 3/8 of the difference a second and falls at once', () => {
    expect(smooth(0, 1)).toBeCloseTo(0.375, 12);
    expect(smooth(0.375, 1)).toBeCloseTo(0.609_375, 12);
    expect(smooth(3, 1)).toBe(1);
    expect(smooth(1, 1)).toBe(1);
  });

  it('is never negative', () => {
    expect(smooth(0.5, -2)).toBe(0);
  });

  it('comes near a steady load from below in ten seconds', () => {
    let load = 0;
    for (let second = 0; second < 10; second++) load = smooth(load, 2);
    expect(load).toBeGreaterThan(1.97);
    expect(load).toBeLessThan(2);
  });

  it('is 1.00 for a busy thread on each CPU of speed 1', () => {
    expect(loadSample(4, 4, 1)).toBe(1);
    expect(loadSample(4, 4, 2)).toBe(0.5);
    expect(loadSample(1, 0.5, 1)).toBe(2);
  });

  it('is finite whatever a node says of itself', () => {
    expect(loadSample(3, 0, 0)).toBeLessThan(Infinity);
  });
});
