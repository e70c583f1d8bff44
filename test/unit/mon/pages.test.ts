import { describe, expect, it } from 'vitest';
import { pages } from '../../../mon/pages.js';
import { plainText } from '../../../mon/picture.js';
import { node } from './nodes.js';

function textOf(count: number, columns?: string): string {
  const nodes = Array.from({ length: count }, (_, index) => node(index + 1));
  return pages({ nodes, takenAtMs: 5, trouble: null }, 5, columns).map(plainText).join('\n\n');
}

function numbersIn(text: string): number[] {
  return [...text.matchAll(/^Node (.*)$/gm)].flatMap(([, numbers = '']) =>
    numbers.trim().split(/\s+/).map(Number),
  );
}

describe('on paper', () => {
  it('is one picture 80 wide', () => {
    const text = textOf(3);
    expect(numbersIn(text)).toEqual([1, 2, 3]);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBe(80);
    expect(text).not.toContain('quit');
  });

  it('is as wide as COLUMNS says, within reason', () => {
    const width = (columns: string): number =>
      Math.max(
        ...textOf(3, columns)
          .split('\n')
          .map((line) => line.length),
      );
    expect(width('40')).toBe(40);
    expect(width('1')).toBe(20);
    expect(width('99999')).toBe(500);
    expect(width('many')).toBe(80);
  });

  it('shows each of many nodes once', () => {
    expect(numbersIn(textOf(200))).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
  });

  it('is an empty picture of no nodes', () => {
    expect(textOf(0)).toContain('Nodes 0');
  });
});
