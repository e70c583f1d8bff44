import { describe, expect, it } from 'vitest';
import { barRows, loadText, scaleMarks, scaleTop } from '../../../mon/scale.js';

describe('the scale', () => {
  it.each([
    [0, 1],
    [0.3, 1],
    [1, 1],
    [1.01, 1.5],
    [1.5, 1.5],
    [1.6, 2],
    [9, 10],
    [37, 40],
    [100, 100],
    [101, 150],
    [NaN, 1],
  ])('for a highest load of %d goes up to %d', (highest, top) => {
    expect(scaleTop(highest)).toBe(top);
  });

  it('holds whatever the load, and is never below 1', () => {
    for (let load = 0; load < 5_000; load += 0.01 + load * 0.03) {
      expect(scaleTop(load)).toBeGreaterThanOrEqual(Math.max(1, load));
      expect(scaleTop(load)).toBeLessThanOrEqual(Math.max(1, 2 * load));
    }
  });

  it('has its numbers at rows that bars of those loads reach', () => {
    for (const rows of [1, 2, 5, 6, 15, 16, 21, 60]) {
      const marks = scaleMarks(2, rows);
      expect(marks.at(-1)).toEqual({ row: rows, load: 2 });
      for (const { row, load } of marks) expect(barRows(load, 2, rows)).toBe(row);
    }
  });

  it.each([
    [0, '0.00'],
    [0.995, '0.99'],
    [37, '37.00'],
    [99.999, '100'],
    [12_345, '12345'],
    [1e7, '>99k'],
  ])('writes %d as %s', (load, text) => {
    expect(loadText(load)).toBe(text);
  });

  it('never fills more rows than there are, nor fewer than none', () => {
    expect(barRows(5, 1, 10)).toBe(10);
    expect(barRows(-1, 1, 10)).toBe(0);
  });
});
