import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const WORDS_PATH = '/usr/share/dict/words';
/** md5crypt: what a shadow file of those days held, and slow enough to be worth a cluster. */
const SCHEME = '$1$';
/** Where in its share of the list each weak password lies: late, so that nobody is done early. */
const WEAK_AT = 0.92;

/** More users than this and the demonstration would be about the shadow file. */
const MAX_USERS = 60;

export interface Audit {
  readonly program: string;
  readonly shadowPath: string;
  readonly wordsPath: string;
  readonly users: number;
  readonly words: number;
  /** For each share of the list, in order: whose password it will find, and what that is. */
  readonly expected: readonly { readonly user: string; readonly word: string }[];
}

/**
 * Writes a shadow file into `folder`: one weak password for each of `shares` audits, and as many strong ones
 * as it takes for each audit to need about `seconds` of one CPU on this machine.
 */
export async function prepareAudit(
  folder: string,
  program: string,
  shares: number,
  seconds: number,
): Promise<Audit> {
  const words = (await readFile(WORDS_PATH, 'utf8')).split('\n').filter((word) => word !== '');
  const ask = async (...args: string[]): Promise<string> => (await execute(program, args)).stdout.trim();

  const hashesPerSecond = Number(await ask('--rate', `${SCHEME}rate$`));
  const wanted = Math.round((seconds * hashesPerSecond * shares) / words.length);
  const users = Math.min(Math.max(wanted, shares), MAX_USERS);

  const expected: { user: string; word: string }[] = [];
  const lines: string[] = [];
  for (let index = 0; index < users; index++) {
    const user = `goose${index + 1}`;
    const weak = index < shares ? weakWord(words, index, shares) : null;
    if (weak !== null) expected.push({ user, word: weak });
    const hash = await ask('--hash', `${SCHEME}salt${index}$`, weak ?? `no word of any list: ${index}`);
    lines.push(`${user}:${hash}\n`);
  }
  const shadowPath = join(folder, 'shadow');
  await writeFile(shadowPath, lines.join(''));
  return { program, shadowPath, wordsPath: WORDS_PATH, users, words: words.length, expected };
}

/** A plain word that only the audit of this share (from 0) will try. */
function weakWord(words: readonly string[], share: number, shares: number): string {
  const start = Math.floor((words.length * WEAK_AT) / shares) * shares + share;
  for (let index = start; index < words.length; index += shares) {
    const word = words[index];
    if (word !== undefined && /^[a-z]{5,10}$/.test(word)) return word;
  }
  throw new Error(`${WORDS_PATH} is too short for the demonstration: ${words.length} words`);
}
