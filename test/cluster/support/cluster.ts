/*
 * A cluster for one file of tests, in a folder of its own, used by its commands as a person would.
 */
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { MoveResult, NodeInfo, TaskInfo, Why } from '../../../runtime/client/index.js';
import { Command, type CommandOptions, type Ending } from './command.js';
import { MARK, processesOf, type Process } from './processes.js';
import { until } from './until.js';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Programs that are there as long as the cluster is. */
const LASTING = new Set(['skeind', 'node']);

/** What `ps --json` says beyond what the client's type promises. */
export interface Shown extends TaskInfo {
  readonly name: string;
  readonly stay: boolean;
}

export class Cluster {
  readonly environment: Readonly<Record<string, string>>;

  private constructor(
    /** For the files of the tests; the cluster has its own folder in it. */
    readonly folder: string,
    private readonly size: number,
  ) {
    this.environment = {
      [MARK]: folder,
      SKEIN_DIR: join(folder, 'cluster'),
      SKEIN_NODE: '1',
      PATH: `${join(root, 'bin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      // What the tests compare is in these words.
      LC_ALL: 'C.UTF-8',
    };
  }

  static async up(size = 3): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'cluster-'));
    await chmod(folder, 0o755);
    const cluster = new Cluster(folder, size);
    await cluster.raise();
    return cluster;
  }

  /** Up, or up again after a node has died. */
  async raise(): Promise<void> {
    await this.good(['skein', 'cluster', 'up', String(this.size), '--dir', this.nodeFolder('')]);
  }

  /** Ends everything; fails if anything is left. */
  async down(): Promise<void> {
    await this.good(['skein', 'cluster', 'down']);
    const left = await until('no process is left', () => processesOf(this.folder), isEmpty);
    expect(left).toEqual([]);
    expect(await readdir(this.folder)).not.toContain('cluster');
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(this.folder);
    await rm(this.folder, { recursive: true });
  }

  nodeFolder(node: number | ''): string {
    return join(this.folder, 'cluster', String(node));
  }

  start(words: readonly string[], options: CommandOptions = {}): Command {
    return new Command(words, {
      cwd: this.folder,
      ...options,
      environment: { ...this.environment, ...options.environment },
    });
  }

  run(words: readonly string[], options: CommandOptions = {}): Promise<Ending> {
    return this.start(words, options).ended;
  }

  shell(script: string, options: CommandOptions = {}): Promise<Ending> {
    return this.run(['bash', '-c', script], options);
  }

  /** What a command prints that must end well. */
  async good(words: readonly string[], options: CommandOptions = {}): Promise<string> {
    const { status, signal, stdout, stderr } = await this.run(words, options);
    expect(status, `${words.join(' ')} (${signal ?? 'no signal'})\n${stdout}\n${stderr}`).toBe(0);
    return stdout;
  }

  async json<T>(...words: readonly string[]): Promise<T> {
    return JSON.parse(await this.good([...words, '--json'])) as T;
  }

  nodes(): Promise<NodeInfo[]> {
    return this.json('skein', 'nodes');
  }

  tasks(): Promise<Shown[]> {
    return this.json('skein', 'ps');
  }

  /** The task of that name that `ps` shows, once it runs. */
  async taskNamed(name: string): Promise<Shown> {
    const mine = (tasks: readonly Shown[]): Shown | undefined =>
      tasks.find((task) => task.name === name && task.state === 'running' && task.pid > 0);
    const tasks = await until(
      `task ${name} runs`,
      () => this.tasks(),
      (now) => mine(now) !== undefined,
    );
    const task = mine(tasks);
    if (task === undefined) throw new Error(`no task ${name}`);
    return task;
  }

  async task(id: string): Promise<Shown> {
    const task = (await this.tasks()).find((one) => one.task === id);
    if (task === undefined) throw new Error(`ps does not show ${id}`);
    return task;
  }

  migrate(task: string, node: number | 'home' | 'best'): Promise<MoveResult> {
    return this.json('skein', 'migrate', task, String(node));
  }

  why(task: string): Promise<Why> {
    return this.json('skein', 'why', task);
  }

  /** Starts a detached task that the balancer leaves alone; its id. */
  async detach(
    node: number | string,
    words: readonly string[],
    options: CommandOptions = {},
  ): Promise<string> {
    const id = await this.good(['runon', '-d', '--stay', String(node), ...words], options);
    expect(id).toMatch(/^\d+\.\d+\n$/);
    return id.trim();
  }

  logs(task: string): Promise<string> {
    return this.good(['skein', 'logs', task]);
  }

  async wait(task: string): Promise<number | null> {
    return (await this.run(['skein', 'wait', task])).status;
  }

  /** No process but those that are always there. What is found all the same is ended, for the tests that follow. */
  async expectRest(limitMs?: number): Promise<void> {
    const extra = async (): Promise<Process[]> =>
      (await processesOf(this.folder)).filter(({ program }) => !LASTING.has(program));
    try {
      await until('nothing runs', extra, isEmpty, limitMs);
    } catch (error) {
      for (const { pid } of await extra()) killIfThere(pid);
      throw error;
    }
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isEmpty(list: readonly unknown[]): boolean {
  return list.length === 0;
}
