/*
 * Messages between an agent and the programs of its own machine: one msgpack map a frame
 * (docs/protocol.md, section 3).
 */
import { Packr } from 'msgpackr';
import { scanPlain } from './scan.js';

export const LOCAL_VERSION = 1;
export const LOCAL_MAX_BYTES = 1 << 20;

export interface LocalMessage {
  /** The type. */
  readonly t: string;
  /** A request, to be answered with this number. */
  readonly id?: number;
  /** An answer to the request of this number. */
  readonly re?: number;
  readonly [field: string]: unknown;
}

const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  int64AsType: 'number',
  encodeUndefinedAsNil: false,
});

export function encodeLocal(message: LocalMessage): Buffer {
  const bytes = packr.pack({ v: LOCAL_VERSION, ...message });
  if (bytes.length > LOCAL_MAX_BYTES) throw new RangeError(`a message of ${bytes.length} bytes is too large`);
  return bytes;
}

/** A map as it is, without an envelope: for files that native programs read. */
export function packFields(fields: Readonly<Record<string, unknown>>): Buffer {
  return packr.pack(fields);
}

/** The message, or what is wrong with the frame. */
export function decodeLocal(frame: Uint8Array): LocalMessage | string {
  if (frame.length > LOCAL_MAX_BYTES) return `${frame.length} bytes are too many`;
  const problem = scanPlain(frame);
  if (problem !== null) return `no plain msgpack: ${problem}`;
  let value: unknown;
  try {
    value = packr.unpack(frame);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not a map';
  const message = value as Record<string, unknown>;
  if (message['v'] !== LOCAL_VERSION) return 'another version';
  if (typeof message['t'] !== 'string' || message['t'] === '') return 'no type';
  if (!isIdOrAbsent(message['id']) || !isIdOrAbsent(message['re'])) return 'a bad id';
  return message as LocalMessage;
}

function isIdOrAbsent(value: unknown): boolean {
  return value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0);
}
