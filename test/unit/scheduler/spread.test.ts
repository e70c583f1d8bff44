/*
 * The parts of the scheduler together, on simulated nodes: busy tasks that start on one node spread, and then
 * stay where they are.
 */
import { describe, expect, it } from 'vitest';
import { afterMove, FRESH_MEMORY, plan, type BalancerMemory } from '../../../scheduler/balancer.js';
import type { Board } from '../../../scheduler/board.js';
import { gossip, merge } from '../../../scheduler/gossip.js';
import { loadSample, smooth } from '../../../scheduler/load.js';
import { seededRng } from '../../../scheduler/rng.js';
import { NEVER_HEARD, watch, type Suspicion } from '../../../scheduler/suspicion.js';
import { row, task } from './examples.js';

interface SimulatedTask {
  readonly name: string;
  host: number;
  arrivedAtMs: number;
  moves: number;
}

interface SimulatedNode {
  readonly node: number;
  load: number;
  board: Board;
  suspicions: Map<number, Suspicion>;
  memory: BalancerMemory;
}

/** Runs so many seconds; tells when each move was and how many tasks each node has in the end. */
function simulate(size: number, taskCount: number, seconds: number, seed: number) {
  const rng = seededRng(seed);
  const numbers = Array.from({ length: size }, (_, index) => index + 1);
  const tasks = Array.from({ length: taskCount }, (_, index): SimulatedTask => ({
    name: `1.${index + 1}`,
    host: 1,
    arrivedAtMs: 0,
    moves: 0,
  }));
  const nodes = new Map(
    numbers.map((node): [number, SimulatedNode] => [
      node,
      {
        node,
        load: 0,
        board: new Map(),
        suspicions: new Map(numbers.map((other) => [other, NEVER_HEARD])),
        memory: FRESH_MEMORY,
      },
    ]),
  );
  const moveSeconds: number[] = [];
  for (let second = 1; second <= seconds; second++) {
    for (const node of nodes.values()) {
      const nowMs = second * 1_000 + (node.node * 1_000) / (size + 1);
      const here = tasks.filter(({ host }) => host === node.node);
      // Something else always runs a little.
      node.load = smooth(node.load, loadSample(here.length + rng() * 0.2, 1, 1));
      const own = row(node.node, { sequence: second, load: node.load, measuredAtMs: nowMs });
      node.board = new Map(node.board).set(node.node, own);
      for (const [other, suspicion] of node.suspicions) {
        const known = node.board.get(other);
        const ageMs = known === undefined ? null : nowMs - known.measuredAtMs;
        node.suspicions.set(other, watch(suspicion, ageMs, size));
      }
      const liveness = new Map([...node.suspicions].map(([other, state]) => [other, state.liveness]));

      const message = gossip({ self: node.node, board: node.board, liveness, nowMs, rng });
      const receiver = message === null ? undefined : nodes.get(message.to);
      if (message !== null && receiver !== undefined) {
        const options = { self: receiver.node, nowMs, known: () => true };
        receiver.board = merge(receiver.board, message.entries, options);
      }

      const local = here.map(({ name, arrivedAtMs, moves }) => task(name, { arrivedAtMs, moves }));
      const { board, memory } = node;
      const result = plan({ self: node.node, board, liveness, tasks: local, memory, nowMs, rng });
      node.memory = result.memory;
      const moved = tasks.find(({ name }) => name === result.move?.task);
      if (result.move === null || moved === undefined) continue;
      moveSeconds.push(second);
      moved.host = result.move.to;
      moved.moves++;
      moved.arrivedAtMs = nowMs;
      node.memory = afterMove(node.memory, { from: node.node, to: moved.host, threads: 1, nowMs });
    }
  }
  const counts = numbers.map((node) => tasks.filter(({ host }) => host === node).length);
  return { counts, moveSeconds };
}

describe('busy tasks that start on one node', () => {
  it.each(Array.from({ length: 10 }, (_, seed) => seed))(
    'of three spread over three, one each (seed %d)',
    (seed) => {
      const { counts, moveSeconds } = simulate(3, 3, 60, seed);
      expect(counts).toEqual([1, 1, 1]);
      expect(moveSeconds).toHaveLength(2);
      expect(Math.max(...moveSeconds)).toBeLessThan(30);
    },
  );

  it.each(Array.from({ length: 4 }, (_, seed) => seed))(
    'spread evenly over ten and then stay (seed %d)',
    (seed) => {
      const { counts, moveSeconds } = simulate(10, 20, 240, seed);
      expect(Math.max(...counts)).toBeLessThanOrEqual(3);
      expect(Math.min(...counts)).toBeGreaterThanOrEqual(1);
      expect(moveSeconds.length).toBeLessThan(40);
      expect(moveSeconds.filter((second) => second > 180).length).toBeLessThan(3);
    },
  );

  it('stay where they are if there is nowhere better', () => {
    expect(simulate(1, 3, 60, 1)).toEqual({ counts: [3], moveSeconds: [] });
  });
});
