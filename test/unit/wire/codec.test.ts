import { describe, expect, it } from 'vitest';
import { decodeLocal, encodeLocal, LOCAL_MAX_BYTES } from '../../../runtime/wire/codec-local.js';
import { scanPlain } from '../../../runtime/wire/scan.js';
import { seededRng } from '../../../scheduler/rng.js';

const MESSAGE = {
  t: 'start',
  id: 12,
  argv: [Buffer.from('ls'), Buffer.from([0xff, 0x00])],
  text: 'é'.repeat(300),
  long: 'x'.repeat(70_000),
  numbers: [0, -1, 127, -33, 300, -300, 70_000, -70_000, 2 ** 40, -(2 ** 40), 1.5],
  empty: {},
  list: Array.from({ length: 40 }, (_, index) => ({ index })),
  truth: [true, false, null],
};

describe('a message as bytes', () => {
  it('comes out as it went in', () => {
    expect(decodeLocal(encodeLocal(MESSAGE))).toEqual({ v: 1, ...MESSAGE });
    expect(decodeLocal(encodeLocal({ t: 'x', missing: undefined }))).toEqual({ v: 1, t: 'x' });
  });

  it('has a largest size', () => {
    expect(() => encodeLocal({ t: 'x', much: Buffer.alloc(LOCAL_MAX_BYTES) })).toThrow(/too large/);
    expect(decodeLocal(Buffer.alloc(LOCAL_MAX_BYTES + 1))).toMatch(/too many/);
  });

  it.each<[string, number[]]>([
    ['nothing', []],
    ['no map', [0x01]],
    ['a list', [0x91, 0x01]],
    ['no version', [0x81, 0xa1, 0x74, 0xa1, 0x78]],
    ['another version', [0x82, 0xa1, 0x76, 0x02, 0xa1, 0x74, 0xa1, 0x78]],
    ['no type', [0x81, 0xa1, 0x76, 0x01]],
    ['an empty type', [0x82, 0xa1, 0x76, 0x01, 0xa1, 0x74, 0xa0]],
    ['an id that is none', [0x83, 0xa1, 0x76, 0x01, 0xa1, 0x74, 0xa1, 0x78, 0xa2, 0x69, 0x64, 0xff]],
    ['something more', [0x82, 0xa1, 0x76, 0x01, 0xa1, 0x74, 0xa1, 0x78, 0x00]],
    ['a regular expression', [0x81, 0xa1, 0x76, 0xd4, 0x78, 0x00, 0x92, 0xa1, 0x61, 0xa0]],
    ['a record definition', [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x76, 0x01]],
    ['a type that is none', [0xc1]],
    ['a list of 2^32 - 1', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['a map of 2^31', [0xdf, 0x80, 0x00, 0x00, 0x00, 0xa1]],
    ['bytes of 2^32 - 1', [0xc6, 0xff, 0xff, 0xff, 0xff, 0x00]],
    ['a length that is cut off', [0xdb, 0x00]],
  ])('with %s is refused', (_what, bytes) => {
    expect(decodeLocal(Buffer.from(bytes))).toBeTypeOf('string');
  });

  it('that is deep is refused', () => {
    expect(scanPlain(Buffer.from([...Array<number>(20).fill(0x91), 0x01]))).toBeNull();
    expect(scanPlain(Buffer.alloc(LOCAL_MAX_BYTES, 0x91))).toBe('it is too deep');
    expect(scanPlain(Buffer.from([...Array<number>(200).fill(0x91), 0x01]))).toBe('it is too deep');
  });

  it('that is cut anywhere is refused', () => {
    const whole = encodeLocal({ ...MESSAGE, long: '' });
    for (let length = 0; length < whole.length; length++)
      expect(decodeLocal(whole.subarray(0, length))).toBeTypeOf('string');
  });

  it('that is changed anywhere does no harm', () => {
    const seed = 4711;
    const rng = seededRng(seed);
    const whole = encodeLocal({ ...MESSAGE, long: '' });
    for (let round = 0; round < 4_000; round++) {
      const changed = Buffer.from(whole);
      for (let count = 1 + Math.floor(rng() * 4); count > 0; count--)
        changed[Math.floor(rng() * changed.length)] = Math.floor(rng() * 256);
      const message = decodeLocal(changed);
      if (typeof message !== 'string') expect(message.t, `seed ${seed}, round ${round}`).toBeTypeOf('string');
    }
    for (let round = 0; round < 4_000; round++) {
      const noise = Buffer.from(Array.from({ length: round % 60 }, () => Math.floor(rng() * 256)));
      decodeLocal(noise);
    }
  });
});
