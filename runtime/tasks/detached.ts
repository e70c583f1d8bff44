/*
 * The deputies of detached tasks, which skeind starts: each has a folder, and is started again when it dies.
 */
import { existsSync } from 'node:fs';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HomeTask } from './home-task.js';
import type { Clock, Fields, Launch, Nodes } from './ports.js';
import type { Tokens } from './tokens.js';

export interface DetachedOptions {
  readonly nodes: Nodes;
  readonly launch: Launch;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly statePath: string;
  readonly ownUid: number;
  readonly encode: (fields: Fields) => Buffer;
}

/** So many times in so long. */
const RESTARTS = 5;
const WINDOW_MS = 60_000;

export class DetachedDeputies {
  private readonly restarts = new Map<string, number[]>();

  constructor(private readonly options: DetachedOptions) {}

  folder(task: string): string {
    return join(this.options.statePath, 'tasks', task);
  }

  /** Writes down what was asked for, where only the task's user can read it. */
  async prepare({ task, uid, gid }: HomeTask, body: Fields): Promise<void> {
    const folder = this.folder(task);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { t: _t, id: _id, v: _v, ...asked } = body;
    const spec = join(folder, 'spec');
    await writeFile(spec, this.options.encode(asked), { mode: 0o600 });
    if (this.options.ownUid !== 0) return;
    await chown(spec, uid, gid);
    await chown(folder, uid, gid);
  }

  async launch({ task, uid, gid }: HomeTask): Promise<void> {
    const { tokens, launch, nodes } = this.options;
    this.dropTokens(task);
    const token = tokens.make({ role: 'deputy', task, uid, home: nodes.self, receives: false });
    try {
      await launch.start('deputy', { uid, gid, task, token });
    } catch (error) {
      tokens.drop(token);
      throw error;
    }
  }

  /** Whether a deputy that died may be started once more; it is counted. */
  mayRestart(task: string): boolean {
    const nowMs = this.options.clock.monotonicMs();
    const recent = (this.restarts.get(task) ?? []).filter((atMs) => nowMs - atMs < WINDOW_MS);
    if (recent.length >= RESTARTS) return false;
    this.restarts.set(task, [...recent, nowMs]);
    return true;
  }

  /** Whether somebody has run it and its deputy has not said how it ended: a new deputy could go on. */
  isResumable(task: string): boolean {
    return existsSync(join(this.folder(task), 'epoch'));
  }

  /** Tasks that skeind was asked to start a deputy for, and their users. */
  known(): Map<string, number> {
    const deputies = this.options.tokens.all().filter(({ role }) => role === 'deputy');
    return new Map(deputies.map(({ task, uid }) => [task, uid]));
  }

  forget(task: string): void {
    this.restarts.delete(task);
    this.dropTokens(task);
  }

  private dropTokens(task: string): void {
    const { tokens } = this.options;
    for (const entry of tokens.all())
      if (entry.role === 'deputy' && entry.task === task) tokens.drop(entry.token);
  }
}
