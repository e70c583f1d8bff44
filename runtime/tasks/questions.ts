/*
 * What is asked about the tasks whose home is this node: by people, through clients.
 */
import { join } from 'node:path';
import { AgentError } from '../base/errors.js';
import { ANSWER_TIMEOUT_MS, COMES_BACK_MS } from '../base/limits.js';
import type { Arrivals } from './arrivals.js';
import type { EndedTask, History } from './history.js';
import { shown, shownEnded, type HomeTask } from './home-task.js';
import type { Clock, Fields, Natives, Nodes } from './ports.js';

export interface QuestionOptions {
  readonly nodes: Nodes;
  readonly natives: Natives;
  readonly history: History;
  readonly clock: Clock;
  readonly statePath: string;
  readonly ownUid: number;
  readonly userName: (uid: number) => string;
}

const SIGKILL = 9;

export class HomeQuestions {
  private readonly beganMs: number;

  /** `arrivals` hears of each task of before this agent. */
  constructor(
    private readonly options: QuestionOptions,
    private readonly tasks: ReadonlyMap<string, HomeTask>,
    private readonly arrivals: Arrivals,
  ) {
    this.beganMs = options.clock.monotonicMs();
  }

  /** Resolves when the task is known here, or would be if it were there: an agent that was restarted knows none yet. */
  async comeBack(name: string): Promise<void> {
    const { history, clock } = this.options;
    const leftMs = COMES_BACK_MS - (clock.monotonicMs() - this.beganMs);
    const isKnown = this.tasks.has(name) || history.get(name) !== undefined;
    if (!isKnown && history.wasGiven(name) && leftMs > 0) await this.arrivals.wait(name, leftMs);
  }

  /** @throws AgentError when there is no such task, or it is another user's. */
  find(name: string, asker: number): HomeTask {
    const task = this.tasks.get(name);
    if (task === undefined) {
      const ended = this.options.history.get(name);
      this.check(ended?.uid, name, asker);
      throw ended?.state === 'lost'
        ? new AgentError('lost', `task ${name} is lost: ${ended.reason}`)
        : new AgentError('not-running', `task ${name} has ended`);
    }
    this.check(task.uid, name, asker);
    return task;
  }

  private check(uid: number | undefined, name: string, asker: number): void {
    if (uid === undefined)
      throw new AgentError(
        'no-such-task',
        `no task ${name} (\`skein ps --all\` lists those of the last day)`,
      );
    if (!this.mayTouch(asker, uid))
      throw new AgentError('denied', `task ${name} belongs to ${this.options.userName(uid)}`);
  }

  private mayTouch(asker: number, owner: number): boolean {
    return asker === owner || asker === 0 || asker === this.options.ownUid;
  }

  list(asker: number, all: boolean): Fields[] {
    const { nodes, history, userName } = this.options;
    const running = [...this.tasks.values()]
      .filter((task) => this.mayTouch(asker, task.uid))
      .map((task) => shown(task, nodes.self, userName(task.uid)));
    if (!all) return running;
    const ended = history.all().filter((task) => this.mayTouch(asker, task.uid));
    return [...ended.map((task) => shownEnded(task, nodes.self, userName(task.uid))), ...running];
  }

  async kill(name: string, asker: number, signo: number): Promise<Fields> {
    const task = this.find(name, asker);
    const { natives, nodes } = this.options;
    if (task.deputy === null || task.asleep) {
      if (signo !== SIGKILL)
        throw new AgentError('refused', `the runon of task ${name} is stopped: continue it first (\`fg\`)`);
      nodes.tell(task.host, { t: 'task-quit', task: name, epoch: task.epoch });
      return {};
    }
    await natives.ask(task.deputy, { t: 'signal', signo }, { timeoutMs: ANSWER_TIMEOUT_MS });
    return {};
  }

  /** How it ended; null when it has not in this time. */
  async wait(name: string, asker: number, timeoutMs: number): Promise<EndedTask | null> {
    const ended = this.options.history.get(name);
    if (ended !== undefined) {
      this.check(ended.uid, name, asker);
      return ended;
    }
    const task = this.find(name, asker);
    return new Promise((resolve) => {
      const finish = (result: EndedTask | null): void => {
        clearTimeout(timer);
        task.waiters.delete(finish);
        resolve(result);
      };
      const timer = setTimeout(() => finish(null), timeoutMs);
      task.waiters.add(finish);
    });
  }

  logs(name: string, asker: number): Fields {
    const ended = this.options.history.get(name);
    if (ended !== undefined) this.check(ended.uid, name, asker);
    const detach = ended?.detach ?? this.find(name, asker).detach;
    if (!detach)
      throw new AgentError('refused', `task ${name} was not detached: its output went where its runon ran`);
    const folder = join(this.options.statePath, 'tasks', name);
    return { stdout: join(folder, 'out'), stderr: join(folder, 'err'), ended: ended !== undefined };
  }
}
