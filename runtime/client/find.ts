import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { NoNodeError } from './errors.js';

/** Where a node or a cluster on this machine lives. */
export interface FoundNode {
  /** The node folder. */
  readonly state: string;
  /** The cluster folder it is in, if any. */
  readonly cluster: string | null;
}

export interface FindOptions {
  /** A node folder or a cluster folder. Default: $SKEIN_DIR, else the usual places. */
  readonly dir?: string | undefined;
  /** Which node of a cluster folder. Default: $SKEIN_NODE, else 1. */
  readonly node?: number | undefined;
}

/** The folder of this user's cluster, where nothing else is said. */
export function defaultClusterFolder(): string {
  return `/tmp/skein-${process.getuid?.() ?? 0}`;
}

/** Finds the node as the native commands do (docs/protocol.md, section 1). */
export function findNode({ dir, node }: FindOptions = {}): FoundNode {
  const chosen = dir ?? nonEmpty(process.env['SKEIN_DIR']);
  const number = node ?? wantedNode();
  if (chosen !== undefined) {
    const found = look(chosen, number);
    if (found !== null) return found;
    throw new NoNodeError(
      exists(chosen, 'cluster.json')
        ? `the cluster in ${chosen} has no node ${number} (\`skein cluster status\` lists them)`
        : `${chosen} is neither a node's folder nor a cluster's (\`skein cluster up 3\` makes one)`,
    );
  }
  const places = [defaultClusterFolder(), join(homedir(), '.skein'), '/run/skein', '/tmp/skein-0'];
  for (const place of places) {
    const found = look(place, number);
    if (found !== null) return found;
  }
  if (places.some((place) => exists(place, 'cluster.json')))
    throw new NoNodeError(`there is no node ${number} here (\`skein cluster status\` lists them)`);
  throw new NoNodeError('no node is running here (`skein cluster up 3` starts a cluster on this machine)');
}

function look(folder: string, node: number): FoundNode | null {
  if (exists(folder, 'agent.sock') || exists(folder, 'skein.conf')) return { state: folder, cluster: null };
  if (!exists(folder, 'cluster.json')) return null;
  const state = join(folder, String(node));
  return exists(state, '.') ? { state, cluster: folder } : null;
}

function wantedNode(): number {
  const text = process.env['SKEIN_NODE'] ?? '';
  return /^\d{1,5}$/.test(text) ? Number(text) : 1;
}

function exists(folder: string, name: string): boolean {
  return statSync(join(folder, name), { throwIfNoEntry: false }) !== undefined;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
