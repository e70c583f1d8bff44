import { describe, expect, it } from 'vitest';
import type { Board } from '../../../scheduler/board.js';
import { best, eligible, type Placement } from '../../../scheduler/placement.js';
import { seededRng } from '../../../scheduler/rng.js';
import { allAlive, boardOf, boardOfLoads, row } from './examples.js';

function place(board: Board, fields: Partial<Placement> = {}): number | null {
  return best({
    self: 1,
    board,
    liveness: allAlive(board),
    predictions: [],
    nowMs: 0,
    rng: seededRng(1),
    ...fields,
  });
}

describe('placement', () => {
  it('takes the node where one more thread makes the least load', () => {
    expect(place(boardOfLoads(2, 1, 3))).toBe(2);
    // 3 busy of 8 CPUs: (3+1)/8 = 0.5 beats an idle single CPU.
    expect(place(boardOf(row(1, { load: 0 }), row(2, { load: 3 / 8, cpus: 8 })))).toBe(2);
    expect(place(boardOf(row(1, { load: 0 }), row(2, { load: 0.1, speed: 2 })))).toBe(2);
  });

  it('stays here among equals', () => {
    expect(place(boardOfLoads(0, 0, 0))).toBe(1);
    expect(place(boardOfLoads(0.03, 0, 0))).toBe(1);
  });

  it('picks among other equals by chance', () => {
    const board = boardOfLoads(2, 0, 0, 0);
    const picked = new Set(Array.from({ length: 50 }, (_, seed) => place(board, { rng: seededRng(seed) })));
    expect(picked).toEqual(new Set([2, 3, 4]));
  });

  it('counts what has just been sent there', () => {
    expect(place(boardOfLoads(1, 0, 0.5), { predictions: [{ node: 2, threads: 1, atMs: 0 }] })).toBe(3);
  });

  it('goes only to nodes that are alive, not draining, and allowed', () => {
    const board = boardOf(row(1, { load: 5 }), row(2), row(3, { draining: true }), row(4));
    const liveness = allAlive(board).set(2, 'suspect');
    expect(eligible({ self: 1, board, liveness, allowed: undefined }).map(({ node }) => node)).toEqual([
      1, 4,
    ]);
    expect(place(board, { liveness })).toBe(4);
    expect(place(board, { liveness, allowed: [1, 2] })).toBe(1);
    expect(place(board, { liveness, allowed: [2, 3] })).toBeNull();
  });
});
