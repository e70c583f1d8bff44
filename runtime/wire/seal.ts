/*
 * The envelope of a message between agents: who, to whom, in which session, the how-manieth, and a seal over all.
 *
 * Theory of operation. CURVE keeps strangers out, but ZeroMQ's routing id proves nothing: any node of the map could
 * speak for another. So each message carries an HMAC keyed by a secret that only the two nodes have (X25519 of one's
 * secret and the other's public key). A session is named by two random numbers, one from each side, and counters grow
 * within it, so that what is sent again by a third is known.
 *
 *     magic[4] kind[1] reserved[1] from[2] to[2] session of the dialler[16] of the listener[16] counter[8] seal[32] body
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

export type Kind = 'hello' | 'challenge' | 'data' | 'unknown-session';
const KINDS: readonly Kind[] = ['hello', 'challenge', 'data', 'unknown-session'];

export interface Sealed {
  readonly kind: Kind;
  readonly from: number;
  readonly to: number;
  readonly dialler: Buffer;
  readonly listener: Buffer;
  readonly counter: number;
  readonly body: Buffer;
}

const MAGIC = Buffer.from('SKP1');
export const SESSION_BYTES = 16;
export const NO_SESSION = Buffer.alloc(SESSION_BYTES);
const SEAL_AT = 4 + 1 + 1 + 2 + 2 + 2 * SESSION_BYTES + 8;
const SEAL_BYTES = 32;
export const ENVELOPE_BYTES = SEAL_AT + SEAL_BYTES;

/** The key of a pair of nodes, from their shared X25519 secret. */
export function sealKey(sharedSecret: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', sharedSecret, Buffer.alloc(0), 'skein control 1', 32));
}

export function seal(key: Buffer, message: Sealed): Buffer {
  const head = Buffer.alloc(SEAL_AT);
  MAGIC.copy(head, 0);
  head.writeUInt8(KINDS.indexOf(message.kind), 4);
  head.writeUInt16BE(message.from, 6);
  head.writeUInt16BE(message.to, 8);
  message.dialler.copy(head, 10);
  message.listener.copy(head, 10 + SESSION_BYTES);
  head.writeBigUInt64BE(BigInt(message.counter), SEAL_AT - 8);
  return Buffer.concat([head, mac(key, head, message.body), message.body]);
}

/**
 * The message, or what is wrong with it. `keyOf` gives the key of a pair with this node, or undefined.
 */
export function open(
  frame: Buffer,
  self: number,
  keyOf: (node: number) => Buffer | undefined,
): Sealed | string {
  if (frame.length < ENVELOPE_BYTES) return `${frame.length} bytes are too few`;
  if (!frame.subarray(0, 4).equals(MAGIC)) return 'another protocol or version';
  const kind = KINDS[frame.readUInt8(4)];
  if (kind === undefined) return 'an unknown kind';
  const from = frame.readUInt16BE(6);
  const to = frame.readUInt16BE(8);
  if (to !== self) return `for node ${to}`;
  const key = keyOf(from);
  if (key === undefined) return `from node ${from}, which is not in the map`;
  const head = frame.subarray(0, SEAL_AT);
  const body = frame.subarray(ENVELOPE_BYTES);
  if (!timingSafeEqual(frame.subarray(SEAL_AT, ENVELOPE_BYTES), mac(key, head, body)))
    return `not sealed by node ${from}, which it names as its sender`;
  const counter = frame.readBigUInt64BE(SEAL_AT - 8);
  if (counter > BigInt(Number.MAX_SAFE_INTEGER)) return 'a counter that is too large';
  return {
    kind,
    from,
    to,
    dialler: Buffer.from(frame.subarray(10, 10 + SESSION_BYTES)),
    listener: Buffer.from(frame.subarray(10 + SESSION_BYTES, 10 + 2 * SESSION_BYTES)),
    counter: Number(counter),
    body: Buffer.from(body),
  };
}

function mac(key: Buffer, head: Buffer, body: Buffer): Buffer {
  return createHmac('sha256', key).update(head).update(body).digest();
}
