/*
 * Who is there: this node's own measurements, the board that gossip fills, and who is thought to be alive.
 */
import { AgentError } from '../../base/errors.js';
import { ageMs, withRow, type Board, type GossipEntry } from '../../../scheduler/board.js';
import { gossip, merge } from '../../../scheduler/gossip.js';
import { loadSample, smooth } from '../../../scheduler/load.js';
import { best, eligible } from '../../../scheduler/placement.js';
import type { Prediction } from '../../../scheduler/prediction.js';
import type { Rng } from '../../../scheduler/rng.js';
import { NEVER_HEARD, watch, type Liveness, type Suspicion } from '../../../scheduler/suspicion.js';
import type { Sample } from '../probe.js';

export interface MembersOptions {
  readonly self: number;
  readonly addresses: ReadonlyMap<number, string>;
  readonly cpus: number;
  readonly speed: number;
  /** Grows with each start of the agent. */
  readonly incarnation: number;
  readonly rng: Rng;
  readonly nowMs: () => number;
}

export class Members {
  private board: Board = new Map();
  private suspicions = new Map<number, Suspicion>();
  private sequence = 0;
  /** Whether a sample has been taken: the first one is taken as it is. */
  private load: number | null = null;
  /** Of this node's machine. */
  private io = { diskBytesPerSecond: 0, networkBytesPerSecond: 0 };

  constructor(private readonly options: MembersOptions) {
    for (const node of options.addresses.keys())
      if (node !== options.self) this.suspicions.set(node, NEVER_HEARD);
  }

  measured(sample: Sample, tasks: number): void {
    const { self, addresses, cpus, speed, incarnation, nowMs } = this.options;
    const value = loadSample(sample.runnable, cpus, speed);
    this.load = this.load === null ? value : smooth(this.load, value);
    const { diskBytesPerSecond, networkBytesPerSecond } = sample;
    this.io = { diskBytesPerSecond, networkBytesPerSecond };
    this.board = withRow(this.board, {
      node: self,
      incarnation,
      sequence: ++this.sequence,
      address: addresses.get(self) ?? '',
      load: this.load,
      cpus,
      speed,
      memoryTotal: sample.memoryTotal,
      memoryFree: sample.memoryFree,
      tasks,
      draining: false,
      measuredAtMs: nowMs(),
    });
  }

  /** One step of gossip and of watching: what to send, if anything. */
  tick(): { to: number; entries: readonly GossipEntry[] } | null {
    const { self, addresses, nowMs, rng } = this.options;
    for (const [node, suspicion] of this.suspicions) {
      const row = this.board.get(node);
      const age = row === undefined ? null : ageMs(row, nowMs());
      this.suspicions.set(node, watch(suspicion, age, addresses.size));
    }
    return gossip({ self, board: this.board, liveness: this.liveness(), nowMs: nowMs(), rng });
  }

  heard(entries: readonly GossipEntry[]): void {
    const { self, addresses, nowMs } = this.options;
    this.board = merge(this.board, entries, { self, nowMs: nowMs(), known: (node) => addresses.has(node) });
  }

  liveness(): ReadonlyMap<number, Liveness> {
    return new Map([...this.suspicions].map(([node, { liveness }]) => [node, liveness]));
  }

  rows(): Board {
    return this.board;
  }

  /** All that is known of a node here; of this one also what its disks and interfaces carry. */
  details(node: number): Record<string, unknown> {
    return { row: this.board.get(node) ?? null, io: node === this.options.self ? this.io : null };
  }

  isDead(node: number): boolean {
    return this.suspicions.get(node)?.liveness === 'dead';
  }

  alive(): number[] {
    return [...this.suspicions].filter(([, { liveness }]) => liveness !== 'dead').map(([node]) => node);
  }

  /** As `skein nodes` shows them: every node of the map. */
  list(): Record<string, unknown>[] {
    const { self, addresses, nowMs } = this.options;
    return [...addresses].map(([node, address]) => {
      const row = this.board.get(node);
      const state = node === self ? 'alive' : (this.suspicions.get(node)?.liveness ?? 'joining');
      return {
        node,
        address,
        state: row?.draining === true && state === 'alive' ? 'draining' : state,
        load: round(row?.load ?? 0),
        speed: row?.speed ?? 0,
        cpus: row?.cpus ?? 0,
        memoryTotal: row?.memoryTotal ?? 0,
        memoryFree: row?.memoryFree ?? 0,
        tasks: row?.tasks ?? 0,
        ageMs: row === undefined ? null : Math.round(ageMs(row, nowMs())),
      };
    });
  }

  /**
   * The node that `wanted` (a number, `home`, `best`, or numbers) means now.
   *
   * @throws AgentError `unknown-node` or `dead-node`.
   */
  choose(wanted: string, predictions: readonly Prediction[], except?: number): number {
    const { self, addresses, nowMs, rng } = this.options;
    if (wanted === 'home') return self;
    const allowed = wanted === 'best' ? undefined : wanted.split(',').map(Number);
    for (const node of allowed ?? []) this.requireKnown(node);
    const [only] = allowed ?? [];
    if (allowed?.length === 1 && only !== undefined) {
      if (this.isDead(only))
        throw new AgentError('dead-node', `node ${only} is dead: \`skein nodes\` shows who is not`);
      return only;
    }
    const candidates = (allowed ?? [...addresses.keys()]).filter((node) => node !== except);
    const placement = {
      self,
      board: this.board,
      liveness: this.liveness(),
      allowed: candidates,
      predictions,
      nowMs: nowMs(),
      rng,
    };
    const node = eligible(placement).length === 0 ? null : best(placement);
    if (node === null) throw new AgentError('dead-node', `none of ${candidates.join(', ')} is alive`);
    return node;
  }

  private requireKnown(node: number): void {
    const { addresses } = this.options;
    if (!addresses.has(node))
      throw new AgentError(
        'unknown-node',
        `there is no node ${node} in the map: \`skein nodes\` lists nodes ${[...addresses.keys()].slice(0, 20).join(', ')}`,
      );
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
