/*
 * Task ids: `home.sequence`, as `1.17`.
 */
import { isNodeNumber } from './map.js';

export interface TaskId {
  readonly home: number;
  readonly sequence: number;
}

const LARGEST_SEQUENCE = 2 ** 40;

export function formatTaskId({ home, sequence }: TaskId): string {
  return `${home}.${sequence}`;
}

/** The id, or null if the text is none. */
export function parseTaskId(text: string): TaskId | null {
  const match = /^([1-9]\d{0,4})\.([1-9]\d{0,12})$/.exec(text);
  if (match === null) return null;
  const home = Number(match[1]);
  const sequence = Number(match[2]);
  return isNodeNumber(home) && sequence <= LARGEST_SEQUENCE ? { home, sequence } : null;
}
