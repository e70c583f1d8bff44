import { beforeEach, describe, expect, it } from 'vitest';
import { Members } from '../../../runtime/agent/main/members.js';
import { seededRng } from '../../../scheduler/rng.js';

const sample = {
  runnable: 2,
  memoryTotal: 100,
  memoryFree: 50,
  diskBytesPerSecond: 7,
  networkBytesPerSecond: 9,
};
let nowMs: number;

beforeEach(() => {
  nowMs = 0;
});

function members(self: number, incarnation = 1): Members {
  const addresses = new Map([1, 2, 3].map((node) => [node, `127.0.0.${node}`]));
  const rng = seededRng(self);
  return new Members({ self, addresses, cpus: 1, speed: 1, incarnation, rng, nowMs: () => nowMs });
}

/** Three nodes that gossip for so many seconds; the third stops after `lastOfThird`. */
function live(seconds: number, lastOfThird = Infinity): Members[] {
  const all = [members(1), members(2), members(3)];
  for (let second = 0; second < seconds; second++) {
    for (const [index, one] of all.entries()) {
      if (index === 2 && second > lastOfThird) continue;
      one.measured(sample, 0);
      const news = one.tick();
      if (news !== null && (news.to !== 3 || second <= lastOfThird)) all[news.to - 1]?.heard(news.entries);
    }
    nowMs += 1_000;
  }
  return all;
}

describe('who is there', () => {
  it('is known to everybody after a few steps of gossip', () => {
    for (const one of live(20))
      expect(one.list().map(({ node, state, load }) => [node, state, load])).toEqual([
        [1, 'alive', 2],
        [2, 'alive', 2],
        [3, 'alive', 2],
      ]);
  });

  it('no longer counts a node that has gone silent', () => {
    const [first] = live(90, 10);
    expect(first?.list()[2]).toMatchObject({ node: 3, state: 'dead' });
    expect(first?.alive()).toEqual([2]);
    expect(() => first?.choose('3', [])).toThrow('node 3 is dead');
    expect(first?.choose('2,3', [])).toBe(2);
  });
});

describe('the choice of a node', () => {
  it('by number, home, or several', () => {
    const [first] = live(20);
    expect(first?.choose('2', [])).toBe(2);
    expect(first?.choose('home', [])).toBe(1);
    expect([2, 3]).toContain(first?.choose('2,3', []));
    expect(() => first?.choose('9', [])).toThrow('there is no node 9 in the map');
    expect(() => first?.choose('2,9', [])).toThrow('there is no node 9 in the map');
  });

  it('takes the least loaded for best', () => {
    const [first, second] = live(20);
    second?.measured({ ...sample, runnable: 0 }, 0);
    const entries = second === undefined ? [] : second.tick()?.entries;
    first?.heard(entries ?? []);
    expect(first?.choose('best', [])).toBe(2);
  });
});
