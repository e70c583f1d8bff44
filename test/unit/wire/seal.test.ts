import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { makeKeyPair, publicKeyBytes, publicKeyOf, sharedSecret } from '../../../runtime/wire/curve-key.js';
import { open, seal, sealKey, SESSION_BYTES, type Sealed } from '../../../runtime/wire/seal.js';

const one = makeKeyPair();
const two = makeKeyPair();
const three = makeKeyPair();
const key = sealKey(sharedSecret(one.secretKey, two.publicKey));

const MESSAGE: Sealed = {
  kind: 'data',
  from: 1,
  to: 2,
  dialler: randomBytes(SESSION_BYTES),
  listener: randomBytes(SESSION_BYTES),
  counter: 2 ** 40,
  body: Buffer.from('hello'),
};

describe('keys', () => {
  it('are pairs, in Z85', () => {
    expect(one.secretKey).toMatch(/^\S{40}$/);
    expect(publicKeyOf(one.secretKey)).toBe(one.publicKey);
    expect(publicKeyBytes(one.publicKey)).toHaveLength(32);
    // From rfc.zeromq.org/spec/26: a pair that everyone knows.
    expect(publicKeyOf('D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs')).toBe(
      'Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID',
    );
  });

  it('that are none are refused', () => {
    for (const bad of ['', 'x', ' '.repeat(40), '#'.repeat(40), `${one.publicKey}x`])
      expect(() => publicKeyOf(bad)).toThrow('not a CURVE key in Z85');
  });

  it('give both ends of a pair the same secret, and nobody else', () => {
    const secret = sharedSecret(one.secretKey, two.publicKey);
    expect(sharedSecret(two.secretKey, one.publicKey).equals(secret)).toBe(true);
    expect(sharedSecret(three.secretKey, two.publicKey).equals(secret)).toBe(false);
    // A point of small order would give a secret that all know.
    expect(() => sharedSecret(one.secretKey, '0'.repeat(40))).toThrow();
  });
});

describe('a sealed message', () => {
  it('is opened by the one it is for', () => {
    expect(open(seal(key, MESSAGE), 2, (node) => (node === 1 ? key : undefined))).toEqual(MESSAGE);
    expect(open(seal(key, MESSAGE), 3, () => key)).toBe('for node 2');
    expect(open(seal(key, MESSAGE), 2, () => undefined)).toMatch(/not in the map/);
  });

  it('is not opened once any bit of it was changed', () => {
    const frame = seal(key, MESSAGE);
    for (let bit = 0; bit < 8 * frame.length; bit++) {
      // The one reserved byte counts too.
      const changed = Buffer.from(frame);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(open(changed, 2, () => key)).toBeTypeOf('string');
    }
    for (let length = 0; length < frame.length; length++)
      expect(open(frame.subarray(0, length), 2, () => key)).toBeTypeOf('string');
  });

  it('is not taken for one of another pair', () => {
    const other = sealKey(sharedSecret(three.secretKey, two.publicKey));
    expect(open(seal(other, MESSAGE), 2, () => key)).toMatch(/not sealed by node 1/);
  });
});
