import { describe, expect, it } from 'vitest';
import {
  afterFailure,
  afterMove,
  FRESH_MEMORY,
  heldBy,
  plan,
  type BalancerMemory,
  type BalancerTask,
  type Plan,
  type PlanInput,
} from '../../../scheduler/balancer.js';
import type { Board } from '../../../scheduler/board.js';
import { seededRng } from '../../../scheduler/rng.js';
import { allAlive, boardOf, boardOfLoads, row, task } from './examples.js';

/** The plan after as many in a row as it takes to be sure. */
function decide(board: Board, tasks: readonly BalancerTask[], fields: Partial<PlanInput> = {}): Plan {
  let memory = fields.memory ?? FRESH_MEMORY;
  for (let round = 1; ; round++) {
    const result = plan({
      self: 1,
      board,
      liveness: allAlive(board),
      tasks,
      nowMs: 0,
      rng: seededRng(1),
      ...fields,
      memory,
    });
    if (result.move !== null || round === 3) return result;
    memory = result.memory;
  }
}

describe('the rule', () => {
  it('moves one of two to an idle node: 0 + 1.3 is below 2', () => {
    const { move, reasons } = decide(boardOfLoads(2, 0), [task('1.1'), task('1.2')]);
    expect(move).toMatchObject({ from: 1, to: 2 });
    expect(reasons).toEqual([`load here 2.00; ${move?.task ?? ''} on node 2 would be rated 1.30`]);
  });

  it('leaves a lone task on a node of its own: 0 + 1.3 is not below 1', () => {
    const { move, reasons } = decide(boardOfLoads(1, 0), [task('1.1')]);
    expect(move).toBeNull();
    expect(reasons[0]).toMatch(/not clearly better/);
  });

  it('moves a lone task to a node twice as fast: 1.3 / 2 is below 1', () => {
    expect(decide(boardOf(row(1, { load: 1 }), row(2, { speed: 2 })), [task('1.1')]).move).toEqual({
      task: '1.1',
      from: 1,
      to: 2,
    });
  });

  it('takes the task with the second-highest load', () => {
    const tasks = [task('1.1', { threads: 4 }), task('1.2', { threads: 1 }), task('1.3', { threads: 2 })];
    expect(decide(boardOfLoads(7, 0), tasks).move?.task).toBe('1.3');
  });

  it('takes the least rated node', () => {
    expect(decide(boardOfLoads(4, 2, 1, 1.5), [task('1.1'), task('1.2')]).move?.to).toBe(3);
  });

  it('wants it to be clearly better: 0.5 + 1.3 against 2.1 × 0.85 = 1.785', () => {
    expect(decide(boardOfLoads(2.1, 0.5), [task('1.1'), task('1.2')]).move).toBeNull();
    expect(decide(boardOfLoads(2.2, 0.5), [task('1.1'), task('1.2')]).move).not.toBeNull();
  });

  it('wants it three times in a row', () => {
    const board = boardOfLoads(3, 0);
    const input = {
      self: 1,
      board,
      liveness: allAlive(board),
      tasks: [task('1.1')],
      nowMs: 0,
      rng: seededRng(1),
    };
    const first = plan({ ...input, memory: FRESH_MEMORY });
    expect(first).toMatchObject({ move: null, memory: { wanted: 1 } });
    const second = plan({ ...input, memory: first.memory });
    expect(second).toMatchObject({ move: null, memory: { wanted: 2 } });
    const calm = plan({ ...input, board: boardOfLoads(0, 0), memory: second.memory });
    expect(calm.memory.wanted).toBe(0);
    expect(plan({ ...input, memory: second.memory }).move).not.toBeNull();
  });

  it('needs room in memory, and a little more', () => {
    const tasks = [task('1.1', { residentBytes: 1e9 })];
    const withFree = (memoryFree: number): Board => boardOf(row(1, { load: 3 }), row(2, { memoryFree }));
    expect(decide(withFree(1.1e9), tasks).move).toBeNull();
    expect(decide(withFree(1.3e9), tasks).move).not.toBeNull();
  });

  it('goes to no node that is suspect, draining or not allowed', () => {
    const board = boardOf(row(1, { load: 5 }), row(2), row(3, { draining: true }), row(4));
    const liveness = allAlive(board).set(2, 'suspect');
    expect(decide(board, [task('1.1')], { liveness }).move?.to).toBe(4);
    expect(decide(board, [task('1.1', { allowed: [1, 2, 3] })], { liveness }).move).toBeNull();
  });

  it('waits until this node has measured itself', () => {
    expect(decide(boardOf(row(2)), [task('1.1')]).reasons).toEqual(['this node has not measured itself yet']);
  });
});

describe('what it remembers', () => {
  it('counts a task where it went before it shows there', () => {
    const memory = afterMove(FRESH_MEMORY, { from: 1, to: 2, threads: 1, nowMs: 0 });
    // Here 3 − 1 = 2; there 0 + 1 + 1.3 = 2.3.
    expect(decide(boardOfLoads(3, 0), [task('1.1'), task('1.2')], { memory }).move).toBeNull();
  });

  it('leaves a task alone after a failed move, each time longer', () => {
    let memory: BalancerMemory = FRESH_MEMORY;
    const heldForMs: number[] = [];
    for (let failures = 0; failures < 7; failures++) {
      memory = afterFailure(memory, '1.1', 0);
      let ms = 0;
      while (heldBy(task('1.1'), memory, ms) !== null) ms += 10_000;
      heldForMs.push(ms);
    }
    expect(heldForMs).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    expect(heldBy(task('1.2'), memory, 0)).toBeNull();
  });

  it('remembers a bounded number of failures', () => {
    let memory: BalancerMemory = FRESH_MEMORY;
    for (let count = 0; count < 1_500; count++) memory = afterFailure(memory, `1.${count}`, 0);
    expect(memory.refusals).toHaveLength(1_000);
  });
});

describe('what is left alone', () => {
  it.each<[string, Partial<BalancerTask>, RegExp]>([
    ['--stay', { stay: true }, /--stay/],
    ['a terminal', { terminal: true }, /terminal/],
    ['a stopped one', { state: 'stopped' }, /stopped/],
    ['one that is migrating', { state: 'migrating' }, /migrating/],
    ['one that is starting', { state: 'starting' }, /starting/],
    ['one that the engine cannot move', { immovable: 'it has a socket' }, /socket/],
    ['one placed by hand', { pinnedUntilMs: 60_000 }, /by hand.*60 s/],
    ['one that just started', { arrivedAtMs: -1_000 }, /came here 1\.0 s ago and stays 2\.0 s/],
    ['one that was moved here', { arrivedAtMs: -9_000, moves: 1 }, /stays 10 s/],
    ['a large one, for longer', { arrivedAtMs: -20_000, residentBytes: 1e9 }, /stays 25 s/],
    ['an idle one', { threads: 0.2 }, /idle/],
  ])('%s', (_name, fields, reason) => {
    const one = task('1.1', fields);
    expect(heldBy(one, FRESH_MEMORY, 0)).toMatch(reason);
    expect(decide(boardOfLoads(9, 0), [one]).move).toBeNull();
  });

  it('nothing else', () => {
    expect(heldBy(task('1.1'), FRESH_MEMORY, 0)).toBeNull();
  });
});

describe('in any cluster', () => {
  it.each(Array.from({ length: 300 }, (_, seed) => seed))(
    'a move is allowed and is better (seed %d)',
    (seed) => {
      const rng = seededRng(seed);
      const chance = (share: number): boolean => rng() < share;
      const rows = Array.from({ length: 1 + Math.floor(rng() * 12) }, (_, index) =>
        row(index + 1, {
          load: rng() * 8,
          cpus: 1 + Math.floor(rng() * 8),
          speed: 0.5 + rng(),
          memoryFree: rng() * 4e9,
          draining: chance(0.1),
        }),
      );
      const board = boardOf(...rows);
      const liveness = allAlive(board);
      for (const { node } of rows) if (chance(0.2)) liveness.set(node, chance(0.5) ? 'dead' : 'suspect');
      const tasks = Array.from({ length: Math.floor(rng() * 8) }, (_, index) =>
        task(`1.${index + 1}`, {
          threads: rng() * 4,
          residentBytes: rng() * 2e9,
          stay: chance(0.3),
          terminal: chance(0.3),
          arrivedAtMs: -rng() * 60_000,
          allowed: chance(0.3) ? [2, 3] : null,
        }),
      );
      const { move } = decide(board, tasks, { liveness, rng });
      if (move === null) return;

      const moved = tasks.find((one) => one.task === move.task);
      const target = board.get(move.to);
      if (moved === undefined || target === undefined)
        throw new Error('a move of or to something that is not there');
      expect(moved.stay || moved.terminal).toBe(false);
      expect(heldBy(moved, FRESH_MEMORY, 0)).toBeNull();
      expect(move.from).toBe(1);
      expect(move.to).not.toBe(1);
      expect(moved.allowed ?? [move.to]).toContain(move.to);
      expect(liveness.get(move.to)).toBe('alive');
      expect(target.draining).toBe(false);
      expect(target.memoryFree).toBeGreaterThan(moved.residentBytes);
      const there = target.load + moved.threads / (target.cpus * target.speed);
      expect(there).toBeLessThan(board.get(1)?.load ?? 0);
    },
  );
});
