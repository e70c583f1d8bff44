/* What the agent tells its clients; the same shapes that the commands print with --json. */

export type NodeState = 'joining' | 'alive' | 'suspect' | 'dead' | 'draining';
export type TaskState = 'starting' | 'running' | 'stopped' | 'migrating' | 'ended' | 'lost';

export interface NodeInfo {
  readonly node: number;
  readonly address: string;
  readonly state: NodeState;
  /** 1.0 is one CPU-bound thread for each CPU of speed 1.0. */
  readonly load: number;
  readonly speed: number;
  readonly cpus: number;
  /** Bytes. */
  readonly memoryTotal: number;
  readonly memoryFree: number;
  readonly tasks: number;
  /** How old all this is; null: never heard from. */
  readonly ageMs: number | null;
}

export interface TaskInfo {
  /** `home.sequence`. */
  readonly task: string;
  /** As the task sees it. */
  readonly pid: number;
  readonly home: number;
  readonly host: number;
  readonly state: TaskState;
  readonly user: string;
  readonly command: string;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly moves: number;
  readonly epoch: number;
}

export interface MoveResult {
  readonly task: string;
  readonly from: number;
  readonly to: number;
  readonly mode: string;
  readonly rounds: number;
  readonly bytesTotal: number;
  readonly bytesFrozen: number;
  readonly downtimeMs: number;
  readonly totalMs: number;
}

export interface Reason {
  readonly pid: number;
  readonly kind: string;
  readonly detail: string;
}

export interface Why {
  readonly movable: boolean;
  readonly reasons: readonly Reason[];
  readonly lastDecision: unknown;
}

export interface Logs {
  /** Paths on the task's home. */
  readonly stdout: string;
  readonly stderr: string;
  readonly ended: boolean;
}

export interface SkeinEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}
