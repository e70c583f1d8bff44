import { describe, expect, it } from 'vitest';
import {
  boolean,
  bytes,
  integer,
  list,
  matching,
  object,
  oneOf,
  optional,
  real,
  ShapeError,
  text,
} from '../../../runtime/base/schema.js';
import { pick, seededRng } from '../../../scheduler/rng.js';

const readTask = object({
  task: matching(/^\d+\.\d+$/, 'task'),
  epoch: integer(0, 1000),
  load: real(0, 10),
  state: oneOf('running', 'stopped'),
  argv: list(bytes(10), 3),
  stay: boolean,
  name: optional(text(5), null),
  where: optional(object({ node: integer(1, 9) }), undefined),
});

const TASK = {
  task: '1.2',
  epoch: 3,
  load: 0.5,
  state: 'running',
  argv: [Buffer.from('ls'), 'x'],
  stay: false,
};

describe('the shape of a message', () => {
  it('is given back typed, without what was not asked for', () => {
    expect(readTask({ ...TASK, more: 1 }, '')).toEqual({
      ...TASK,
      argv: [Buffer.from('ls'), Buffer.from('x')],
      name: null,
      where: undefined,
    });
    expect(readTask({ ...TASK, epoch: 3n, name: Buffer.from('é'), where: { node: 2 } }, '')).toMatchObject({
      epoch: 3,
      name: 'é',
      where: { node: 2 },
    });
  });

  it.each<[Record<string, unknown>, string]>([
    [{ task: '1.x' }, 'task: is no task'],
    [{ epoch: 1001 }, 'epoch: is not from 0 to 1000'],
    [{ epoch: 1.5 }, 'epoch: is no whole number'],
    [{ epoch: '1' }, 'epoch: is no whole number'],
    [{ epoch: undefined }, 'epoch: is no whole number'],
    [{ load: NaN }, 'load: is no number from 0 to 10'],
    [{ state: 'x' }, 'state: is none of running, stopped'],
    [{ argv: ['12345678901'] }, 'argv[0]: is longer than 10'],
    [{ argv: ['', '', '', ''] }, 'argv: has more than 3 items'],
    [{ argv: { length: 0 } }, 'argv: is no list'],
    [{ argv: ['', 7] }, 'argv[1]: is no bytes'],
    [{ stay: 0 }, 'stay: is no boolean'],
    [{ name: 'longer' }, 'name: is longer than 5'],
    [{ where: { node: 0 } }, 'where.node: is not from 1 to 9'],
    [{ where: [] }, 'where: is no map'],
  ])('is checked: %o', (change, problem) => {
    expect(() => readTask({ ...TASK, ...change }, '')).toThrow(new ShapeError('', problem));
  });

  it('is not taken from what every object has', () => {
    const read = object({ constructor: optional(text(10), null), toString: optional(text(10), null) });
    expect(read({}, '')).toEqual({ constructor: null, toString: null });
  });

  it('fails only as a shape, whatever comes', () => {
    const seed = 1234;
    const rng = seededRng(seed);
    const make = (depth: number): unknown => {
      const value = pick(
        [null, undefined, true, -1, 0, 3, 2 ** 60, NaN, 5n, 2n ** 80n, '', '1.2', 'running', Buffer.alloc(3)],
        rng,
      );
      if (depth === 0 || rng() < 0.5) return value;
      if (rng() < 0.5) return Array.from({ length: Math.floor(rng() * 5) }, () => make(depth - 1));
      return Object.fromEntries(Object.keys(TASK).map((name) => [name, make(depth - 1)]));
    };
    for (let round = 0; round < 1_500; round++) {
      const changes = Object.entries({ ...TASK, name: 'x', where: { node: 1 } }).map(([name, value]) => [
        name,
        rng() < 0.2 ? make(3) : value,
      ]);
      const message: unknown = rng() < 0.1 ? make(3) : Object.fromEntries(changes);
      try {
        readTask(message, '');
      } catch (error) {
        expect(error, `seed ${seed}, round ${round}`).toBeInstanceOf(ShapeError);
      }
    }
  });
});
