import { describe, expect, it } from 'vitest';
import { FRESH, STAGES, step, type MigrationEvent, type Step } from '../../../runtime/migration/stages.js';
import { seededRng } from '../../../scheduler/rng.js';

const ok: MigrationEvent = { type: 'succeeded' };
const broken: MigrationEvent = { type: 'failed', reason: 'it broke' };
const atSource: MigrationEvent = { type: 'settled', place: 'source' };
const atTarget: MigrationEvent = { type: 'settled', place: 'target' };

/** What is done, in order, when these are the answers. */
function walk(...answers: readonly MigrationEvent[]): string[] {
  const names: string[] = [];
  let { state, next } = step(FRESH, { type: 'begun' });
  for (const answer of answers) {
    names.push(nameOf(next));
    ({ state, next } = step(state, answer));
  }
  names.push(nameOf(next));
  return names;
}

function nameOf(one: Step): string {
  return 'undo' in one ? `undo ${one.undo}` : one.do;
}

describe('the stages of a migration', () => {
  it('are walked in order when all goes well', () => {
    expect(walk(ok, ok, ok, ok)).toEqual([...STAGES, 'done']);
  });

  it('need nothing undone when the task can not move', () => {
    expect(walk(broken)).toEqual(['probe', 'done']);
  });

  it('end with the deputy taking its keys back', () => {
    expect(walk(ok, broken, atSource)).toEqual(['probe', 'admit', 'settle', 'done']);
  });

  it('are undone last first, and only once the deputy has settled that the task is at the source', () => {
    const begun = ['probe', 'admit', 'receive'];
    expect(walk(ok, ok, broken, atSource, ok)).toEqual([...begun, 'settle', 'undo receive', 'done']);
    expect(walk(ok, ok, ok, broken, atSource, ok, ok)).toEqual([
      ...begun,
      'send',
      'settle',
      'undo send',
      'undo receive',
      'done',
    ]);
  });

  it('are not undone when the target has claimed the task', () => {
    expect(walk(ok, ok, ok, broken, atTarget)).toEqual([...STAGES, 'settle', 'done']);
  });

  it('leave the target alone when the deputy does not answer', () => {
    expect(walk(ok, ok, ok, broken, broken, ok)).toEqual([...STAGES, 'settle', 'undo send', 'done']);
    expect(walk(ok, ok, broken, broken)).toEqual(['probe', 'admit', 'receive', 'settle', 'done']);
  });

  it('pass over what fails while it is undone', () => {
    expect(walk(ok, ok, ok, broken, atSource, broken, broken)).toEqual([
      ...STAGES,
      'settle',
      'undo send',
      'undo receive',
      'done',
    ]);
  });
});

describe('whatever happens', () => {
  /** A world with one task, in which any message may be lost on its way there or back. */
  class World {
    epochAtTarget = false;
    targetEnded = false;
    canClaim = false;
    sourceSends = false;

    constructor(private readonly rng: () => number) {}

    answer(one: Step): MigrationEvent {
      if (this.rng() < 0.25) return broken;
      const settled = this.act(one);
      return this.rng() < 0.25 ? broken : (settled ?? ok);
    }

    private act(one: Step): MigrationEvent | null {
      if ('undo' in one) {
        if (one.undo === 'receive') this.targetEnded = true;
        else this.sourceSends = false;
      } else if (one.do === 'admit') this.canClaim = true;
      else if (one.do === 'send') {
        this.sourceSends = true;
        this.time();
      } else if (one.do === 'settle') {
        this.canClaim = false;
        return this.epochAtTarget ? atTarget : atSource;
      }
      return null;
    }

    /** The natives go on by themselves. */
    time(): void {
      if (this.sourceSends && this.canClaim && !this.targetEnded && this.rng() < 0.5)
        this.epochAtTarget = true;
    }
  }

  it('a target that has the task is never ended, and every walk ends', () => {
    for (let seed = 1; seed <= 5_000; seed++) {
      const world = new World(seededRng(seed));
      let { state, next } = step(FRESH, { type: 'begun' });
      let steps = 0;
      while (!('do' in next) || next.do !== 'done') {
        const answer = world.answer(next);
        world.time();
        ({ state, next } = step(state, answer));
        expect(world.epochAtTarget && world.targetEnded, `seed ${seed}`).toBe(false);
        expect(++steps, `seed ${seed}`).toBeLessThan(10);
      }
      const saysMoved = state.failure === null || state.place === 'target';
      if (saysMoved && state.failure !== null) expect(world.epochAtTarget, `seed ${seed}`).toBe(true);
      if (state.place === 'source') expect(world.epochAtTarget, `seed ${seed}`).toBe(false);
    }
  });
});
