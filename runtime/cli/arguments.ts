import { parseArgs, type ParseArgsConfig } from 'node:util';
import { constants } from 'node:os';
import { UsageError } from './verb.js';

type Options = NonNullable<ParseArgsConfig['options']>;
interface ParseConfig<T extends Options> extends ParseArgsConfig {
  options: T;
  allowPositionals: true;
  strict: true;
}
type Values<T extends Options> = ReturnType<typeof parseArgs<ParseConfig<T>>>['values'];

/** parseArgs with our errors, and a check of how many words are left. */
export function parse<T extends Options>(
  words: readonly string[],
  options: T,
  least: number,
  most = least,
): { readonly values: Values<T>; readonly positionals: readonly string[] } {
  try {
    const { values, positionals } = parseArgs<ParseConfig<T>>({
      args: [...words],
      options,
      allowPositionals: true,
      strict: true,
    });
    if (positionals.length < least) throw new UsageError('too few arguments');
    if (positionals.length > most) throw new UsageError(`"${positionals[most] ?? ''}" is one too many`);
    return { values, positionals };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message.split('. ')[0] ?? error.message);
    throw error;
  }
}

export function taskId(word: string | undefined): string {
  if (word === undefined || !/^[1-9]\d{0,4}\.[1-9]\d{0,15}$/.test(word))
    throw new UsageError(`"${word ?? ''}" is no task (they look like 1.17; \`skein ps\` lists them)`);
  return word;
}

/** A number, `home` or `best`. */
export function moveTarget(word: string | undefined): string {
  if (word === undefined || !/^(home|best|[1-9]\d{0,4})$/.test(word))
    throw new UsageError(`"${word ?? ''}" is no node to move to (a number, home or best)`);
  return word;
}

export function nodeNumber(word: string | undefined): number {
  if (word === undefined || !/^[1-9]\d{0,4}$/.test(word))
    throw new UsageError(`"${word ?? ''}" is no node number`);
  return Number(word);
}

/** A signal by number or name, with or without SIG. */
export function signalNumber(word: string): number {
  const signals: Readonly<Record<string, number>> = constants.signals;
  const upper = word.toUpperCase();
  const number = /^\d{1,2}$/.test(word) ? Number(word) : (signals[upper] ?? signals[`SIG${upper}`]);
  if (number === undefined || number > 64) throw new UsageError(`"${word}" is no signal`);
  return number;
}
