/*
 * Whether a frame is plain msgpack: one value, whole, not deep, and of no extension type.
 *
 * Theory of operation. The codec's own extensions build regular expressions, errors, references and record readers;
 * nothing of ours sends such, so nobody may make us build them. A frame is walked once before it is decoded, without
 * recursion: `left` holds how many values are still to come at each level.
 */

const DEEPEST = 24;

/** Extension type 0 of one byte: how the codec writes `undefined`. */
const UNDEFINED_BYTES = [0xd4, 0x00, 0x00] as const;

/** Null if it is, else what is wrong with it. */
export function scanPlain(frame: Uint8Array): string | null {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const left = [1];
  let at = 0;
  while (left.length > 0) {
    const values = left.at(-1) ?? 0;
    if (values === 0) {
      left.pop();
      continue;
    }
    left[left.length - 1] = values - 1;
    const size = sizeAt(bytes, at);
    if (typeof size === 'string') return size;
    at += size.bytes;
    // Each value takes a byte at least: so a count that can't be true ends here.
    if (at > bytes.length || size.values > bytes.length - at) return 'it is cut off';
    if (size.values > 0) left.push(size.values);
    if (left.length > DEEPEST) return 'it is too deep';
  }
  return at === bytes.length ? null : 'something follows it';
}

interface Size {
  /** Of the value itself, without what it contains. */
  readonly bytes: number;
  readonly values: number;
}

/** Bytes after the first of each type from 0xc0 on: fixed, or -1, -2, -4 for a length of so many bytes. */
const FIXED: Readonly<Record<number, number>> = {
  0xc0: 0,
  0xc2: 0,
  0xc3: 0,
  0xc4: -1,
  0xc5: -2,
  0xc6: -4,
  0xca: 4,
  0xcb: 8,
  0xcc: 1,
  0xcd: 2,
  0xce: 4,
  0xcf: 8,
  0xd0: 1,
  0xd1: 2,
  0xd2: 4,
  0xd3: 8,
  0xd9: -1,
  0xda: -2,
  0xdb: -4,
};

function sizeAt(bytes: Buffer, at: number): Size | string {
  const type = bytes[at];
  if (type === undefined) return 'it is cut off';
  if (type < 0x80 || type >= 0xe0) return { bytes: 1, values: 0 };
  if (type < 0x90) return { bytes: 1, values: 2 * (type & 0x0f) };
  if (type < 0xa0) return { bytes: 1, values: type & 0x0f };
  if (type < 0xc0) return { bytes: 1 + (type & 0x1f), values: 0 };
  const fixed = FIXED[type];
  if (fixed !== undefined && fixed >= 0) return { bytes: 1 + fixed, values: 0 };
  const lengthBytes = fixed !== undefined ? -fixed : type === 0xdc || type === 0xde ? 2 : 4;
  if (fixed !== undefined || type >= 0xdc) {
    if (at + 1 + lengthBytes > bytes.length) return 'it is cut off';
    const length = bytes.readUIntBE(at + 1, lengthBytes);
    if (fixed !== undefined) return { bytes: 1 + lengthBytes + length, values: 0 };
    return { bytes: 1 + lengthBytes, values: type >= 0xde ? 2 * length : length };
  }
  const isUndefined = UNDEFINED_BYTES.every((byte, index) => bytes[at + index] === byte);
  return isUndefined ? { bytes: UNDEFINED_BYTES.length, values: 0 } : 'it has an extension type';
}
