import { setTimeout as pause } from 'node:timers/promises';

const LOOK_AGAIN_MS = 100;
const USUAL_LIMIT_MS = 20_000;

/** The first value that is so, of something that can only be looked at again and again. */
export async function until<T>(
  what: string,
  look: () => Promise<T>,
  isSo: (value: T) => boolean,
  limitMs: number = USUAL_LIMIT_MS,
): Promise<T> {
  const deadlineMs = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (isSo(value)) return value;
    if (Date.now() >= deadlineMs)
      throw new Error(`not in ${limitMs / 1000} s: ${what}; it is ${JSON.stringify(value)}`);
    await pause(LOOK_AGAIN_MS);
  }
}
