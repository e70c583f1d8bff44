/*
 * A node's configuration file: lines `key value`, `#` comments (docs/protocol.md, section 1). Paths may have blanks.
 */
import { isNodeNumber } from './map.js';

export interface Config {
  readonly node: number;
  readonly mapPath: string;
  readonly keysPath: string;
  readonly statePath: string;
  readonly port: number;
  /** A cluster of so many nodes on one machine; null: the node is a machine. */
  readonly isolate: number | null;
  /** CPUs that the node counts as its own; null: all of the machine's, or its share of them. */
  readonly cpus: number | null;
  /** Of a CPU, against an ordinary one. */
  readonly speed: number;
}

export const DEFAULT_PORT = 7071;

/** What is wrong with a configuration file, and in which line (0: with all of it). */
export class ConfigError extends Error {
  constructor(line: number, problem: string) {
    super(line > 0 ? `line ${line}: ${problem}` : problem);
    this.name = 'ConfigError';
  }
}

const KEYS = ['node', 'map', 'keys', 'state', 'port', 'isolate', 'cpus', 'speed'] as const;
type Key = (typeof KEYS)[number];
const PATHS: readonly Key[] = ['map', 'keys', 'state'];

export function parseConfig(text: string): Config {
  const values = new Map<Key, { value: string; line: number }>();
  text.split('\n').forEach((content, index) => {
    const line = index + 1;
    const words = content.replace(/(^|\s)#.*/, '').trim();
    if (words === '') return;
    const [, word = '', value = ''] = /^(\S+)\s*(.*)$/.exec(words) ?? [];
    const key = KEYS.find((one) => one === word);
    if (key === undefined)
      throw new ConfigError(line, `"${word.slice(0, 40)}" is none of ${KEYS.join(', ')}`);
    if (values.has(key)) throw new ConfigError(line, `a second ${key}`);
    if (value === '' || (!PATHS.includes(key) && /\s/.test(value)))
      throw new ConfigError(line, `${key} wants one value`);
    values.set(key, { value, line });
  });
  const path = (key: Key): string => {
    const entry = values.get(key);
    if (entry === undefined) throw new ConfigError(0, `no ${key}`);
    if (!entry.value.startsWith('/')) throw new ConfigError(entry.line, `${key} wants a path from /`);
    return entry.value;
  };
  const number = (key: Key, fits: (value: number) => boolean, what: string): number | null => {
    const entry = values.get(key);
    if (entry === undefined) return null;
    const value = /^\d+(\.\d+)?$/.test(entry.value) ? Number(entry.value) : NaN;
    if (!fits(value))
      throw new ConfigError(entry.line, `${key} wants ${what}, not ${entry.value.slice(0, 40)}`);
    return value;
  };
  const node = number('node', isNodeNumber, 'a node number');
  if (node === null) throw new ConfigError(0, 'no node');
  return {
    node,
    mapPath: path('map'),
    keysPath: path('keys'),
    statePath: path('state'),
    port:
      number('port', (value) => Number.isInteger(value) && value > 0 && value < 65_536, 'a port') ??
      DEFAULT_PORT,
    isolate: number('isolate', isNodeNumber, 'how many nodes this machine has'),
    cpus: number('cpus', (value) => value > 0 && value <= 65_536, 'a number of CPUs'),
    speed: number('speed', (value) => value >= 0.01 && value <= 100, 'a speed from 0.01 to 100') ?? 1,
  };
}

/** A file of lines `N z85-public-key`: which key each node has. */
export function parseKeys(text: string): Map<number, string> {
  const keys = new Map<number, string>();
  text.split('\n').forEach((content, index) => {
    const words = content.trim();
    if (words === '' || words.startsWith('#')) return;
    const match = /^(\d{1,5})\s+(\S{40})$/.exec(words);
    const node = Number(match?.[1]);
    if (match === null || !isNodeNumber(node))
      throw new ConfigError(index + 1, 'wants "number public-key" (`skein key` prints one)');
    if (keys.has(node)) throw new ConfigError(index + 1, `a second key of node ${node}`);
    keys.set(node, match[2] ?? '');
  });
  return keys;
}
