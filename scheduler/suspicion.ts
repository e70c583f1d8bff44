/*
 * Who is alive, from the age of what is known about them. Gossip decides nothing about tasks: this only tells
 * people and the balancer whom to leave alone.
 *
 * A node goes from alive to suspect to dead one step at a time, and only by ticks of the one who watches: if
 * that one was itself stopped for a minute, all ages are large at once, but nobody is called dead before the
 * watcher has listened again for DEAD_AFTER_TICKS ticks.
 */

export type Liveness = 'joining' | 'alive' | 'suspect' | 'dead';

export interface Suspicion {
  readonly liveness: Liveness;
  /** Ticks of the watcher in this state. */
  readonly ticks: number;
}

export const NEVER_HEARD: Suspicion = { liveness: 'joining', ticks: 0 };

/** One tick a second, with the gossip. */
const SUSPECT_AFTER_MS = 4_000;
/** Gossip reaches n nodes in O(log n) steps; one step a second. */
const SUSPECT_PER_DOUBLING_MS = 1_000;
export const DEAD_AFTER_TICKS = 5;
export const JOINING_TICKS = 15;

/** The age from which a node of a cluster of this size is suspect. */
export function suspectAfterMs(clusterSize: number): number {
  return SUSPECT_AFTER_MS + SUSPECT_PER_DOUBLING_MS * Math.ceil(Math.log2(Math.max(2, clusterSize)));
}

/** One tick. `ageMs` is null while nothing has ever been heard from the node. */
export function watch(previous: Suspicion, ageMs: number | null, clusterSize: number): Suspicion {
  const stay: Suspicion = { liveness: previous.liveness, ticks: Math.min(previous.ticks + 1, TICKS_KEPT) };
  if (ageMs !== null && ageMs < suspectAfterMs(clusterSize)) {
    return previous.liveness === 'alive' ? stay : { liveness: 'alive', ticks: 0 };
  }
  switch (previous.liveness) {
    case 'joining':
      return previous.ticks >= JOINING_TICKS ? { liveness: 'dead', ticks: 0 } : stay;
    case 'alive':
      return { liveness: 'suspect', ticks: 0 };
    case 'suspect':
      return stay.ticks >= DEAD_AFTER_TICKS ? { liveness: 'dead', ticks: 0 } : stay;
    case 'dead':
      return stay;
  }
}

const TICKS_KEPT = 1_000_000;
