/*
 * Gossip: in each step (one a second) a node pushes its own entry and the freshest it knows of others, at most
 * W in all, to one random node. What a node sends and receives per second does not grow with the cluster.
 */
import { ageMs, isNewer, type Board, type BoardRow, type GossipEntry } from './board.js';
import { pick, type Rng } from './rng.js';
import type { Liveness } from './suspicion.js';

/** W: how many entries one message carries at most. */
export const GOSSIP_WINDOW = 16;
export const GOSSIP_INTERVAL_MS = 1_000;
/** One step in so many goes to a dead node, so that both halves of a healed cluster find each other. */
const DEAD_ONE_IN = 6;
/** An age beyond this tells nothing more. */
const OLDEST_MS = 3_600_000;

export interface GossipStep {
  readonly self: number;
  readonly board: Board;
  /** All nodes of the map and what is thought of them; self may be among them. */
  readonly liveness: ReadonlyMap<number, Liveness>;
  readonly nowMs: number;
  readonly rng: Rng;
}

export interface GossipMessage {
  readonly to: number;
  readonly entries: readonly GossipEntry[];
}

/** What to send now, or null if there is nobody to send to. */
export function gossip({ self, board, liveness, nowMs, rng }: GossipStep): GossipMessage | null {
  const others = [...liveness].filter(([node]) => node !== self);
  const dead = others.filter(([, state]) => state === 'dead').map(([node]) => node);
  const rest = others.filter(([, state]) => state !== 'dead').map(([node]) => node);
  const turnOfDead = dead.length > 0 && (rest.length === 0 || rng() * DEAD_ONE_IN < 1);
  const to = pick(turnOfDead ? dead : rest, rng);
  if (to === undefined) return null;
  return { to, entries: freshest(self, board, nowMs, to) };
}

/** The own entry, then the freshest others. What the receiver knows best, its own entry, is left out. */
function freshest(self: number, board: Board, nowMs: number, to: number): GossipEntry[] {
  const own = board.get(self);
  const others = [...board.values()]
    .filter((row) => row.node !== self && row.node !== to)
    .sort((one, other) => other.measuredAtMs - one.measuredAtMs);
  const rows = (own === undefined ? [] : [own]).concat(others).slice(0, GOSSIP_WINDOW);
  return rows.map((row) => toEntry(row, nowMs));
}

/** A row as it travels. */
export function toEntry(row: BoardRow, nowMs: number): GossipEntry {
  const { measuredAtMs: _, ...entry } = row;
  return { ...entry, ageMs: ageMs(row, nowMs) };
}

/**
 * The board after a message. Entries about oneself and about nodes that are not in the map are passed over;
 * of two about one node the newer stays.
 */
export function merge(
  board: Board,
  entries: readonly GossipEntry[],
  { self, nowMs, known }: { self: number; nowMs: number; known: (node: number) => boolean },
): Board {
  const next = new Map(board);
  for (const { ageMs: age, ...entry } of entries.slice(0, GOSSIP_WINDOW)) {
    if (entry.node === self || !known(entry.node)) continue;
    const old = next.get(entry.node);
    if (old !== undefined && !isNewer(entry, old)) continue;
    next.set(entry.node, { ...entry, measuredAtMs: nowMs - Math.min(Math.max(0, age), OLDEST_MS) });
  }
  return next;
}
