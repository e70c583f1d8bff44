import { describe, expect, it } from 'vitest';
import type { Board, GossipEntry } from '../../../scheduler/board.js';
import { gossip, GOSSIP_WINDOW, merge, toEntry } from '../../../scheduler/gossip.js';
import { seededRng } from '../../../scheduler/rng.js';
import type { Liveness } from '../../../scheduler/suspicion.js';
import { allAlive, boardOf, row } from './examples.js';

function cluster(size: number): Board {
  return boardOf(...Array.from({ length: size }, (_, index) => row(index + 1, { measuredAtMs: -index })));
}

function step(board: Board, liveness: ReadonlyMap<number, Liveness>, seed = 1, self = 1) {
  return gossip({ self, board, liveness, nowMs: 1_000, rng: seededRng(seed) });
}

describe('a step of gossip', () => {
  it('costs the same in a cluster of any size', () => {
    for (const size of [17, 100, 1_000, 10_000]) {
      const board = cluster(size);
      expect(step(board, allAlive(board))?.entries).toHaveLength(GOSSIP_WINDOW);
    }
  });

  it('tells of itself first, then of the freshest', () => {
    const board = boardOf(
      row(1, { measuredAtMs: 0 }),
      row(2, { measuredAtMs: 100 }),
      row(3, { measuredAtMs: 900 }),
      row(4, { measuredAtMs: 500 }),
    );
    const message = step(board, new Map([[2, 'alive']]));
    expect(message?.to).toBe(2);
    expect(message?.entries.map(({ node, ageMs }) => [node, ageMs])).toEqual([
      [1, 1_000],
      [3, 100],
      [4, 500],
    ]);
  });

  it('never goes to itself, and reaches every other node', () => {
    const board = cluster(8);
    const reached = new Set(Array.from({ length: 200 }, (_, seed) => step(board, allAlive(board), seed)?.to));
    expect(reached).toEqual(new Set([2, 3, 4, 5, 6, 7, 8]));
  });

  it('goes nowhere from a node that is alone', () => {
    expect(step(cluster(1), new Map([[1, 'alive']]))).toBeNull();
  });

  it('goes to the dead now and then, so that a healed cluster finds itself', () => {
    const board = cluster(3);
    const liveness = new Map<number, Liveness>([
      [2, 'alive'],
      [3, 'dead'],
    ]);
    const toDead = Array.from({ length: 600 }, (_, seed) => step(board, liveness, seed)?.to).filter(
      (to) => to === 3,
    ).length;
    expect(toDead).toBeGreaterThan(50);
    expect(toDead).toBeLessThan(160);
    expect(step(board, new Map([[3, 'dead']]))?.to).toBe(3);
  });
});

describe('merging', () => {
  const options = { self: 1, nowMs: 10_000, known: (node: number) => node <= 10 };
  const entry = (node: number, fields: Partial<GossipEntry> = {}): GossipEntry => ({
    ...toEntry(row(node), 0),
    ...fields,
  });

  it('dates an entry by its age and the clock of the receiver', () => {
    expect(merge(new Map(), [entry(2, { ageMs: 700 })], options).get(2)?.measuredAtMs).toBe(9_300);
  });

  it('keeps the newer of two', () => {
    const board = boardOf(row(2, { sequence: 5, load: 1 }));
    expect(merge(board, [entry(2, { sequence: 4, load: 9 })], options).get(2)?.load).toBe(1);
    expect(merge(board, [entry(2, { sequence: 5, load: 9 })], options).get(2)?.load).toBe(1);
    expect(merge(board, [entry(2, { sequence: 6, load: 9 })], options).get(2)?.load).toBe(9);
  });

  it('passes over what is said about oneself, about strangers, and beyond the window', () => {
    expect(merge(new Map(), [entry(1), entry(11)], options).size).toBe(0);
    const many = Array.from({ length: 40 }, (_, index) => entry(index + 2));
    expect(merge(new Map(), many, { ...options, known: () => true }).size).toBe(GOSSIP_WINDOW);
  });

  it('does not believe ages from the future or from before all time', () => {
    expect(merge(new Map(), [entry(2, { ageMs: -5_000 })], options).get(2)?.measuredAtMs).toBe(10_000);
    expect(merge(new Map(), [entry(2, { ageMs: Infinity })], options).get(2)?.measuredAtMs).toBe(
      10_000 - 3_600_000,
    );
  });
});

describe('a cluster that gossips', () => {
  it.each([3, 10, 16])('of %d nodes soon knows all of itself', (size) => {
    const rng = seededRng(size);
    const nodes = Array.from({ length: size }, (_, index) => index + 1);
    const liveness = new Map<number, Liveness>(nodes.map((node) => [node, 'alive']));
    const boards = new Map<number, Board>(nodes.map((node) => [node, boardOf(row(node))]));
    let steps = 0;
    while ([...boards.values()].some((board) => board.size < size)) {
      expect(++steps, 'steps').toBeLessThan(30);
      for (const self of nodes) {
        // Nodes do not act at the same moment.
        const nowMs = steps * 1_000 + (self * 1_000) / size;
        const board = new Map(boards.get(self)).set(
          self,
          row(self, { sequence: steps + 1, measuredAtMs: nowMs }),
        );
        boards.set(self, board);
        const message = gossip({ self, board, liveness, nowMs, rng });
        if (message === null) throw new Error('nobody to send to');
        const { to, entries } = message;
        boards.set(to, merge(boards.get(to) ?? new Map(), entries, { self: to, nowMs, known: () => true }));
      }
    }
  });
});
