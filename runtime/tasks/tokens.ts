/*
 * Which native programs skeind has been asked to start, by the token that each was given. Kept in a file, since the
 * programs outlive an agent and come back to the next one with the tokens they have.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { messageOf } from '../base/errors.js';
import { boolean, integer, list, matching, object, oneOf, type TypeOf } from '../base/schema.js';
import { taskName, userId } from './shapes.js';

const readTokens = list(
  object({
    token: matching(/^[0-9a-f]{32}$/, 'token'),
    role: oneOf('shepherd', 'deputy'),
    task: taskName,
    uid: userId,
    home: integer(1, 65_535),
    receives: boolean,
    /** Of skeind's child; 0: not started yet. */
    number: integer(0, Number.MAX_SAFE_INTEGER),
  }),
  100_000,
);
export type TokenEntry = TypeOf<typeof readTokens>[number];

export class Tokens {
  private readonly entries = new Map<string, TokenEntry>();

  /** `complain` hears when the file is damaged. Who had a token is then refused, and started again by who needs it. */
  constructor(
    private readonly path: string,
    complain: (problem: string) => void,
  ) {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      for (const entry of readTokens(JSON.parse(text), 'tokens')) this.entries.set(entry.token, entry);
    } catch (error) {
      complain(`${path}: ${messageOf(error)}`);
    }
  }

  /** Written down when it is given a number, which is before it is used. */
  make(entry: Omit<TokenEntry, 'token' | 'number'>): string {
    const token = randomBytes(16).toString('hex');
    this.entries.set(token, { ...entry, token, number: 0 });
    return token;
  }

  give(token: string, number: number): void {
    const entry = this.entries.get(token);
    if (entry === undefined) return;
    this.entries.set(token, { ...entry, number });
    this.save();
  }

  tokenOf(number: number): string | undefined {
    return this.all().find((entry) => entry.number === number)?.token;
  }

  get(token: string): TokenEntry | undefined {
    return this.entries.get(token);
  }

  all(): TokenEntry[] {
    return [...this.entries.values()];
  }

  drop(token: string): void {
    if (this.entries.delete(token)) this.save();
  }

  private save(): void {
    const fresh = `${this.path}.new`;
    writeFileSync(fresh, JSON.stringify(this.all()), { mode: 0o600 });
    renameSync(fresh, this.path);
  }
}
