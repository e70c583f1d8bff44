/*
 * CURVE key pairs in files: X25519 keys, written in Z85 as ZeroMQ does.
 */
import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';

export interface CurveKeyPair {
  readonly publicKey: string;
  readonly secretKey: string;
}

const KEY_BYTES = 32;
/** What PKCS #8 puts before the 32 bytes of an X25519 secret (RFC 8410). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** And before a public key (SubjectPublicKeyInfo). */
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex');
const Z85 = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';

export function makeKeyPair(): CurveKeyPair {
  const { privateKey } = generateKeyPairSync('x25519');
  const secret = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-KEY_BYTES);
  return { publicKey: encodeZ85(rawPublic(privateKey)), secretKey: encodeZ85(secret) };
}

/** @throws Error if it is no secret key in Z85. */
export function publicKeyOf(secretKey: string): string {
  return encodeZ85(rawPublic(privateKeyOf(secretKey)));
}

/** The 32 bytes of a public key. @throws Error if it is none in Z85. */
export function publicKeyBytes(publicKey: string): Buffer {
  return decodeZ85(publicKey);
}

/** What only the owners of the two keys can compute (X25519). @throws Error if one is no key. */
export function sharedSecret(secretKey: string, publicKey: string): Buffer {
  const der = Buffer.concat([SPKI_HEAD, decodeZ85(publicKey)]);
  return diffieHellman({
    privateKey: privateKeyOf(secretKey),
    publicKey: createPublicKey({ key: der, format: 'der', type: 'spki' }),
  });
}

function privateKeyOf(secretKey: string): KeyObject {
  const der = Buffer.concat([PKCS8_HEAD, decodeZ85(secretKey)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

function rawPublic(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);
}

/** Four bytes become five characters (rfc.zeromq.org/spec/32). */
function encodeZ85(bytes: Buffer): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4) {
    const value = bytes.readUInt32BE(at);
    for (let power = 4; power >= 0; power--) text += Z85.charAt(Math.floor(value / 85 ** power) % 85);
  }
  return text;
}

function decodeZ85(text: string): Buffer {
  const digits = Array.from(text, (character) => Z85.indexOf(character));
  if (digits.length !== (KEY_BYTES / 4) * 5 || digits.includes(-1)) throw new Error('not a CURVE key in Z85');
  const bytes = Buffer.alloc(KEY_BYTES);
  for (let block = 0; block < KEY_BYTES / 4; block++) {
    const value = digits.slice(block * 5, block * 5 + 5).reduce((sum, digit) => sum * 85 + digit, 0);
    if (value > 0xffff_ffff) throw new Error('not a CURVE key in Z85');
    bytes.writeUInt32BE(value, block * 4);
  }
  return bytes;
}
