/*
 * The folder of a cluster on this machine (docs/protocol.md, section 1).
 */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { defaultClusterFolder } from '../../client/find.js';
import { makeKeyPair } from '../../wire/curve-key.js';
import { CommandError } from '../verb.js';

export interface ClusterFile {
  readonly version: 1;
  readonly nodes: number;
  readonly port: number;
}

export interface ClusterPlan {
  readonly folder: string;
  readonly nodes: number;
  readonly port: number;
  /** CPUs that each node counts as its own; absent: its share. */
  readonly cpus: number | undefined;
}

/** 127.0.0.1 to 127.0.0.N, and as many processes of everything. */
export const MOST_NODES = 64;

/** The folder that is meant: said, else $SKEIN_DIR, else this user's. */
export function clusterFolder(said: string | undefined): string {
  const chosen = said ?? process.env['SKEIN_DIR'];
  return chosen === undefined || chosen === '' ? defaultClusterFolder() : resolve(chosen);
}

export function nodeFolder(folder: string, node: number): string {
  return join(folder, String(node));
}

export function nodeNumbers(nodes: number): number[] {
  return Array.from({ length: nodes }, (_, index) => index + 1);
}

/** Null: there is no cluster. Refuses what belongs to somebody else: it could be a trap in /tmp. */
export function readCluster(folder: string): ClusterFile | null {
  if (!checkOwner(folder)) return null;
  let text: string;
  try {
    text = readFileSync(join(folder, 'cluster.json'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const value = parseJson(text);
  const [nodes, port] = [value['nodes'], value['port']];
  if (value['version'] !== 1 || !isWithin(nodes, 1, MOST_NODES) || !isWithin(port, 1, 65_535))
    throw new CommandError(`${join(folder, 'cluster.json')} is not of this version of Skein`);
  return { version: 1, nodes, port };
}

/** Whether it is there. */
function checkOwner(folder: string): boolean {
  const status = explained(folder, () => lstatSync(folder, { throwIfNoEntry: false }));
  if (status === undefined) return false;
  if (!status.isDirectory()) throw new CommandError(`${folder} is not a folder; name another with --dir`);
  const self = process.getuid?.() ?? 0;
  if (status.uid !== self && self !== 0)
    throw new CommandError(
      `${folder} belongs to somebody else (user ${status.uid}); name another with --dir`,
    );
  return true;
}

/** Makes everything that the nodes read when they start, or nothing. */
export function makeCluster(plan: ClusterPlan): void {
  const { folder, nodes, port } = plan;
  if (/\s#|[\n\r]/.test(folder))
    throw new CommandError(
      `${JSON.stringify(folder)} can't be written in a configuration file; choose another name`,
    );
  if (checkOwner(folder)) {
    if (lstatSync(folder).uid !== (process.getuid?.() ?? 0))
      throw new CommandError(`${folder} belongs to somebody else; name another with --dir`);
    if (readdirSync(folder).length > 0)
      throw new CommandError(`${folder} has files in it and is no cluster; name another with --dir`);
  } else {
    explained(folder, () => mkdirSync(folder));
  }
  explained(folder, () => chmodSync(folder, 0o755));
  requireWayIn(folder);
  const file: ClusterFile = { version: 1, nodes, port };
  // First: whoever finds the folder half made knows that it is a cluster's, and may remove it. It also makes
  // that of two who try at once only one goes on.
  explained(folder, () => write(join(folder, 'cluster.json'), `${JSON.stringify(file)}\n`, 0o644));
  try {
    explained(folder, () => fill(plan));
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function fill({ folder, nodes, port, cpus }: ClusterPlan): void {
  write(join(folder, 'skein.map'), `1 127.0.0.1 ${nodes}\n`, 0o644);
  const keys = nodeNumbers(nodes).map((node) => {
    const state = nodeFolder(folder, node);
    const { publicKey, secretKey } = makeKeyPair();
    mkdirSync(state);
    chmodSync(state, 0o755);
    mkdirSync(join(state, 'srv'));
    chmodSync(join(state, 'srv'), 0o755);
    mkdirSync(join(state, 'proof'));
    chmodSync(join(state, 'proof'), 0o1777);
    write(join(state, 'key.secret'), `${secretKey}\n`, 0o600);
    write(join(state, 'skein.conf'), configuration(folder, node, nodes, port, cpus), 0o644);
    return `${node} ${publicKey}\n`;
  });
  write(join(folder, 'keys'), keys.join(''), 0o644);
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOENT: 'the folder that it should be in is not there',
  ENOTDIR: 'what it should be in is no folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'your share of the disk is full',
  EEXIST: 'somebody else is making a cluster there',
};

/** What the system says of the folder of a cluster, in words that help. */
function explained<T>(folder: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (code === '') throw error;
    throw new CommandError(
      `can't use the folder ${folder}: ${REASONS[code] ?? message}; name another with --dir`,
    );
  }
}

/** Root's tasks run as nobody, and other users' as themselves: all must get to the sockets of the nodes. */
function requireWayIn(folder: string): void {
  if (process.getuid?.() !== 0) return;
  for (let at = dirname(folder); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0)
      throw new CommandError(
        `${at} is closed to other users, as whom root's tasks run: chmod o+x ${at}, or name another folder with --dir`,
      );
    if (at === dirname(at)) return;
  }
}

function configuration(
  folder: string,
  node: number,
  nodes: number,
  port: number,
  cpus: number | undefined,
): string {
  return [
    `# Node ${node} of a cluster on this machine, made by skein cluster up.`,
    `node ${node}`,
    `map ${join(folder, 'skein.map')}`,
    `keys ${join(folder, 'keys')}`,
    `state ${nodeFolder(folder, node)}`,
    `port ${port}`,
    `isolate ${nodes}`,
    ...(cpus === undefined ? [] : [`cpus ${cpus}`]),
    '',
  ].join('\n');
}

function write(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { flag: 'wx', mode });
  chmodSync(path, mode);
}

function parseJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function isWithin(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}
