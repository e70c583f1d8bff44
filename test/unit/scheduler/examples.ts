import type { BalancerTask } from '../../../scheduler/balancer.js';
import type { Board, BoardRow } from '../../../scheduler/board.js';
import type { Liveness } from '../../../scheduler/suspicion.js';

/** A node that was measured at 0: idle, one CPU of speed 1, 4 GB free. */
export function row(node: number, fields: Partial<BoardRow> = {}): BoardRow {
  return {
    node,
    incarnation: 1,
    sequence: 1,
    address: `127.0.0.${node % 256}`,
    load: 0,
    cpus: 1,
    speed: 1,
    memoryTotal: 8e9,
    memoryFree: 4e9,
    tasks: 0,
    draining: false,
    measuredAtMs: 0,
    ...fields,
  };
}

export function boardOf(...rows: readonly BoardRow[]): Board {
  return new Map(rows.map((one) => [one.node, one]));
}

/** Idle nodes 1..n but for these loads. */
export function boardOfLoads(...loads: readonly number[]): Board {
  return boardOf(...loads.map((load, index) => row(index + 1, { load })));
}

export function allAlive(board: Board): Map<number, Liveness> {
  return new Map([...board.keys()].map((node) => [node, 'alive']));
}

/** A busy thread that came long ago and may go anywhere. */
export function task(name: string, fields: Partial<BalancerTask> = {}): BalancerTask {
  return {
    task: name,
    state: 'running',
    threads: 1,
    residentBytes: 1e6,
    arrivedAtMs: -1e6,
    moves: 0,
    stay: false,
    terminal: false,
    pinnedUntilMs: -1e6,
    allowed: null,
    immovable: null,
    ...fields,
  };
}
