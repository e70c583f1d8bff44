/** What each verb's file exports as `run`: gets the words after the verb, gives the exit status. */
export type Run = (words: readonly string[]) => Promise<number>;

export const STATUS = { ok: 0, failed: 1, usage: 2, skeinFailed: 125 } as const;

/** Wrong usage: said in one line, with the right one, exit status 2. */
export class UsageError extends Error {}

/** A failure that is said in one line, exit status 1. */
export class CommandError extends Error {}
