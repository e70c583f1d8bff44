import { describe, expect, it } from 'vitest';
import {
  DEAD_AFTER_TICKS,
  JOINING_TICKS,
  NEVER_HEARD,
  suspectAfterMs,
  watch,
  type Liveness,
  type Suspicion,
} from '../../../scheduler/suspicion.js';

function watchFor(from: Suspicion, ages: readonly (number | null)[], size = 3): Liveness[] {
  let state = from;
  return ages.map((age) => {
    state = watch(state, age, size);
    return state.liveness;
  });
}

const ALIVE: Suspicion = { liveness: 'alive', ticks: 0 };

describe('suspicion', () => {
  it('is slower in larger clusters, where news takes longer', () => {
    expect(suspectAfterMs(2)).toBe(5_000);
    expect(suspectAfterMs(3)).toBe(6_000);
    expect(suspectAfterMs(1_024)).toBe(14_000);
    expect(suspectAfterMs(1)).toBe(5_000);
  });

  it('goes from alive to suspect to dead, a step at a time', () => {
    const old = Array.from({ length: DEAD_AFTER_TICKS + 3 }, () => 60_000);
    const states = watchFor(ALIVE, old);
    expect(states.slice(0, DEAD_AFTER_TICKS)).toEqual(
      Array.from({ length: DEAD_AFTER_TICKS }, () => 'suspect'),
    );
    expect(states.slice(DEAD_AFTER_TICKS)).toEqual(['dead', 'dead', 'dead']);
  });

  it('ends with the first news, from any state', () => {
    for (const liveness of ['joining', 'suspect', 'dead'] as const) {
      expect(watch({ liveness, ticks: 3 }, 100, 3)).toEqual({ liveness: 'alive', ticks: 0 });
    }
  });

  it('lets a node join for a while before it calls it dead', () => {
    const states = watchFor(
      NEVER_HEARD,
      Array.from({ length: JOINING_TICKS + 1 }, () => null),
    );
    expect(states.slice(0, -1)).toEqual(Array.from({ length: JOINING_TICKS }, () => 'joining'));
    expect(states.at(-1)).toBe('dead');
  });

  it('calls nobody dead because the watcher itself was stopped', () => {
    // An hour asleep, then news as usual.
    expect(watchFor(ALIVE, [3_600_000, 3_600_000, 500])).toEqual(['suspect', 'suspect', 'alive']);
  });

  it('counts the ticks in a state', () => {
    expect(watch(watch(ALIVE, 100, 3), 100, 3).ticks).toBe(2);
  });
});
