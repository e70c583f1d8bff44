/*
 * The board: a node's view of every node, its own included. Entries come by gossip, so each has an age.
 *
 * Clocks of different machines are never compared. What travels is an entry with its age; whoever receives it
 * writes down when, by the local clock, it was measured. Which of two entries about one node is newer is told
 * by (incarnation, sequence) alone.
 */

export type NodeState = 'joining' | 'alive' | 'suspect' | 'dead' | 'draining';

/** What a node says of itself. */
export interface BoardEntry {
  readonly node: number;
  /** Grows each time the node's agent starts. */
  readonly incarnation: number;
  /** Grows with each measurement. */
  readonly sequence: number;
  readonly address: string;
  /** Smoothed; 1.0 is one CPU-bound thread for each CPU of speed 1.0. */
  readonly load: number;
  readonly cpus: number;
  /** 1.0 is an ordinary CPU. */
  readonly speed: number;
  /** Bytes. */
  readonly memoryTotal: number;
  /** Bytes that a new task could have. */
  readonly memoryFree: number;
  /** How many tasks run here. */
  readonly tasks: number;
  readonly draining: boolean;
}

/** An entry as it travels. */
export interface GossipEntry extends BoardEntry {
  readonly ageMs: number;
}

/** An entry as it is kept: measured at this time of the local clock. */
export interface BoardRow extends BoardEntry {
  readonly measuredAtMs: number;
}

export type Board = ReadonlyMap<number, BoardRow>;

export function ageMs(row: BoardRow, nowMs: number): number {
  return Math.max(0, nowMs - row.measuredAtMs);
}

export function isNewer(one: BoardEntry, other: BoardEntry): boolean {
  if (one.incarnation !== other.incarnation) return one.incarnation > other.incarnation;
  return one.sequence > other.sequence;
}

/** The board with this row instead of the one it has about the node. */
export function withRow(board: Board, row: BoardRow): Board {
  return new Map(board).set(row.node, row);
}

/** What so many always-runnable threads add to the load of a node. */
export function loadOfThreads(node: BoardEntry, threads: number): number {
  return threads / (Math.max(node.cpus, MINIMUM_CPUS) * Math.max(node.speed, MINIMUM_SPEED));
}

const MINIMUM_CPUS = 0.1;
const MINIMUM_SPEED = 0.01;
