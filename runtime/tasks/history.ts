/*
 * What this node must not forget: the number of its last task, and how tasks ended, for a day.
 */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { formatTaskId, parseTaskId } from '../base/ids.js';
import { MOST_ENDED, REMEMBER_ENDED_MS } from '../base/limits.js';
import { boolean, integer, object, oneOf, real, text, type TypeOf } from '../base/schema.js';
import { taskName, userId } from './shapes.js';

const readEndedTask = object({
  task: taskName,
  uid: userId,
  state: oneOf('ended', 'lost'),
  /** As a shell gives it. */
  status: integer(0, 255),
  reason: text(1000),
  command: text(1024),
  name: text(80),
  detach: boolean,
  host: integer(0, 65_535),
  pid: integer(0, 2 ** 31),
  cpuSeconds: real(0, 1e12),
  moves: integer(0, 1e9),
  epoch: integer(0, 2 ** 32),
  endedAtMs: integer(0, Number.MAX_SAFE_INTEGER),
});
export type EndedTask = TypeOf<typeof readEndedTask>;

export class History {
  private readonly ended = new Map<string, EndedTask>();
  private readonly file: string;
  private sequence: number;

  constructor(
    private readonly statePath: string,
    private readonly node: number,
    nowMs: number,
  ) {
    mkdirSync(join(statePath, 'tasks'), { recursive: true, mode: 0o755 });
    this.file = join(statePath, 'ended');
    for (const line of readOr(this.file, '').split('\n')) this.remember(line);
    // The file may be lost with the machine's power; what the tasks have left behind is not.
    const used = [...this.ended.keys(), ...readdirSync(join(statePath, 'tasks'))];
    this.sequence = used.reduce(
      (highest, task) => Math.max(highest, parseTaskId(task)?.sequence ?? 0),
      Number(readOr(join(statePath, 'sequence'), '0')) || 0,
    );
    this.prune(nowMs);
  }

  /** A task id that was never given before. */
  nextTask(): string {
    this.sequence++;
    replace(join(this.statePath, 'sequence'), String(this.sequence));
    return formatTaskId({ home: this.node, sequence: this.sequence });
  }

  /** Whether this id was given at any time. */
  wasGiven(task: string): boolean {
    const id = parseTaskId(task);
    return id !== null && id.home === this.node && id.sequence <= this.sequence;
  }

  add(task: EndedTask): void {
    this.ended.set(task.task, task);
    appendFileSync(this.file, `${JSON.stringify(task)}\n`, { mode: 0o600 });
  }

  get(task: string): EndedTask | undefined {
    return this.ended.get(task);
  }

  all(): EndedTask[] {
    return [...this.ended.values()];
  }

  /** Forgets what is older than a day, and the folders that go with it. */
  prune(nowMs: number): void {
    const before = this.ended.size;
    let surplus = before - MOST_ENDED;
    for (const task of this.all()) {
      if (nowMs - task.endedAtMs <= REMEMBER_ENDED_MS && surplus <= 0) break;
      surplus--;
      this.ended.delete(task.task);
      rmSync(join(this.statePath, 'tasks', task.task), { recursive: true, force: true });
    }
    if (this.ended.size < before)
      replace(
        this.file,
        this.all()
          .map((task) => `${JSON.stringify(task)}\n`)
          .join(''),
      );
  }

  private remember(line: string): void {
    if (line === '') return;
    try {
      const task = readEndedTask(JSON.parse(line), '');
      this.ended.set(task.task, task);
    } catch (error) {
      // The last line of an agent that was killed while it wrote: that end is forgotten.
      if (!(error instanceof Error)) throw error;
    }
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  }
}

function replace(path: string, content: string): void {
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
