/*
 * The tasks whose home is this node: they begin here, and here it is known where they are and how they ended.
 *
 * Nothing here is the truth about who may run a task: that is its deputy's epoch. This follows what deputies, hosts and
 * skeind tell, and is rebuilt from their announcements after a restart of the agent.
 */
import { AgentError, messageOf } from '../base/errors.js';
import { parseTaskId } from '../base/ids.js';
import { ANSWER_TIMEOUT_MS, HAND_PLACED_MS, MOST_TASKS, START_TIMEOUT_MS } from '../base/limits.js';
import type { EndedTask } from './history.js';
import { freshTask, lossOf, policyOf, type HomeTask } from './home-task.js';
import { Arrivals } from './arrivals.js';
import type { Ending, Running } from './launcher.js';
import { DetachedDeputies, type DetachedOptions } from './detached.js';
import type { Door, Fields, Log, Message, Native } from './ports.js';
import {
  readClaim,
  readDeputyAnnounce,
  readDoor,
  readEnded,
  readGone,
  readReport,
  readStart,
  type DeputyAnnounce,
  type StartRequest,
} from './shapes.js';
import { HomeQuestions, type QuestionOptions } from './questions.js';
import { commandLine, shellStatus } from './text.js';

export interface HomeOptions extends DetachedOptions, QuestionOptions {
  readonly log: Log;
  /** The node to start on. @throws AgentError when it is unknown, dead, or there is none. */
  readonly place: (wanted: string) => number;
  /** Whether what is known says that the node is dead. */
  readonly isDead: (node: number) => boolean;
  readonly groupOf: (uid: number) => number;
  /** Whether a connection to there is refused: nobody listens. */
  readonly isRefused: (endpoint: string) => Promise<boolean>;
  readonly event: (event: Fields) => void;
}

const MOST_COMMAND = 256;
/** A runon that has told nothing for so long may be gone: then nobody listens where it did. */
const RUNON_SILENT_MS = 3_000;
/** One that is stopped is silent, and does not take what is tried at its door. */
const STOPPED_KNOCK_MS = 30_000;
/** A runon that is silent for so long after it was missed is gone. */
const RUNON_GONE_MS = 20_000;
/** A host that has not told of a task for so long is asked whether it still has it. */
const REPORT_OVERDUE_MS = 10_000;
const RUNNING_TIMEOUT_MS = 60_000;
const LOST_STATUS = 125;

export class HomeTasks {
  private readonly tasks = new Map<string, HomeTask>();
  private readonly requests = new Map<string, StartRequest>();
  private readonly deputies: DetachedDeputies;
  private readonly arrivals = new Arrivals();
  readonly questions: HomeQuestions;

  constructor(private readonly options: HomeOptions) {
    this.deputies = new DetachedDeputies(options);
    this.questions = new HomeQuestions(options, this.tasks, this.arrivals);
  }

  // --- starting -----------------------------------------------------------------------------------

  /** runon asks: for itself, which then is the deputy, or with `detach` for one that skeind starts. */
  async start(native: Native, body: Fields): Promise<Fields> {
    const request = readStart(body, '');
    if (this.tasks.size >= MOST_TASKS)
      throw new AgentError('busy', `this node has ${MOST_TASKS} tasks already`);
    if (request.argv.length === 0) throw new AgentError('bad-request', 'no command');
    const door = request.detach ? null : readDoor(body, '');
    // Before an id is spent: a wrong node is the commonest mistake.
    const host = this.options.place(request.node);
    const task = this.make(native.uid, request);
    try {
      if (door === null) return await this.startDetached(task, request, body);
      task.deputy = native;
      await this.startOn(task, host, door);
      return { task: task.task, host, epoch: 1 };
    } catch (error) {
      this.tasks.delete(task.task);
      throw error;
    }
  }

  /** The deputy of a detached task has opened its door. */
  async begin(native: Native, body: Fields): Promise<Fields> {
    const task = native.task === null ? undefined : this.tasks.get(native.task);
    const request = native.task === null ? undefined : this.requests.get(native.task);
    if (task === undefined || request === undefined)
      throw new AgentError('refused', 'this task is not waiting to be started');
    this.requests.delete(task.task);
    const host = this.options.place(request.node);
    await this.startOn(task, host, readDoor(body, ''));
    return { task: task.task, host, epoch: 1 };
  }

  private make(uid: number, request: StartRequest): HomeTask {
    const { clock, history, groupOf } = this.options;
    const task = freshTask(history.nextTask(), uid, groupOf(uid), clock.wallMs());
    task.command = commandLine(request.argv, MOST_COMMAND);
    task.name = request.name;
    task.stay = request.stay;
    task.tty = request.tty;
    task.detach = request.detach;
    if (request.node.includes(',')) task.allowed = request.node.split(',').map(Number);
    else if (/^\d+$/.test(request.node)) task.pinnedUntilMs = clock.monotonicMs() + HAND_PLACED_MS;
    this.tasks.set(task.task, task);
    return task;
  }

  private async startOn(task: HomeTask, host: number, deputy: Door): Promise<void> {
    const { nodes, clock } = this.options;
    task.host = host;
    task.heardMs = clock.monotonicMs();
    const message = {
      t: 'task-start',
      task: task.task,
      home: nodes.self,
      epoch: 1,
      uid: task.uid,
      gid: task.gid,
      name: task.name,
      deputy,
      policy: policyOf(task, clock.monotonicMs()),
    };
    try {
      await nodes.ask(host, message, { timeoutMs: START_TIMEOUT_MS });
    } catch (error) {
      // It may have been heard all the same.
      nodes.tell(host, { t: 'task-quit', task: task.task, epoch: 1 });
      if (error instanceof AgentError && error.code === 'dead-node')
        throw new AgentError('dead-node', `node ${host} does not answer: \`skein nodes\` shows who does`);
      throw error;
    }
  }

  private async startDetached(task: HomeTask, request: StartRequest, body: Fields): Promise<Fields> {
    const { log } = this.options;
    await this.deputies.prepare(task, body);
    this.requests.set(task.task, request);
    const running = new Promise<EndedTask | null>((resolve) => task.starters.add(resolve));
    await this.deputies.launch(task);
    const timer = setTimeout(() => {
      for (const starter of task.starters) starter(null);
    }, RUNNING_TIMEOUT_MS);
    const ended = await running;
    clearTimeout(timer);
    // One that ran and ended in an instant has still been started.
    if (ended === null || !wasRefused(ended)) return { task: task.task, host: task.host, epoch: task.epoch };
    log.info({ task: task.task, status: ended.status }, 'a detached task did not start');
    throw new AgentError('failed', startFailure(ended, request), { status: ended.status });
  }

  // --- what deputies say ----------------------------------------------------------------------------

  heard(native: Native, message: Message): void {
    switch (message.t) {
      case 'announce':
        this.announced(native, readDeputyAnnounce(message, ''));
        return;
      case 'claimed':
        this.claimed(native, message);
        return;
      default:
        this.options.log.warn({ task: native.task, type: message.t }, 'a deputy said something unknown');
    }
  }

  private announced(native: Native, news: DeputyAnnounce): void {
    const task = this.tasks.get(news.task) ?? this.taken(native, news);
    if (task === null) {
      const reason = this.options.history.get(news.task)?.reason ?? '';
      this.options.natives.tell(native, { t: 'lost', reason: reason === '' ? 'its end is known' : reason });
      return;
    }
    if (task.uid !== native.uid) return;
    task.deputy = native;
    task.announcedMs = this.options.clock.monotonicMs();
    if (news.endpoint !== '') task.endpoint = news.endpoint;
    task.stay = news.stay;
    task.tty = news.tty;
    task.silentMs = news.silentMs;
    task.asleep = news.asleep;
    this.options.natives.expectSilence(native, news.asleep);
    if (news.epoch < task.epoch) return;
    task.epoch = news.epoch;
    task.moves = Math.max(task.moves, news.moves);
    if (news.host > 0 && task.move === null) task.host = news.host;
    const before = task.state;
    task.state = news.state;
    if (before !== news.state) this.tell(task, news.state);
    if (before === 'starting' && news.state !== 'starting')
      for (const starter of task.starters) starter(null);
  }

  /** A task of before this agent. */
  private taken(native: Native, news: DeputyAnnounce): HomeTask | null {
    const { history, groupOf, nodes, clock } = this.options;
    const isOurs = parseTaskId(news.task)?.home === nodes.self;
    if (!isOurs || history.get(news.task) !== undefined || this.tasks.size >= MOST_TASKS) return null;
    const task = freshTask(news.task, native.uid, groupOf(native.uid), news.startedMs);
    task.command = news.command;
    task.name = news.name;
    task.detach = news.detach;
    task.host = news.host;
    task.epoch = news.epoch;
    task.moves = news.moves;
    task.state = news.state;
    task.heardMs = clock.monotonicMs();
    this.tasks.set(task.task, task);
    this.arrivals.arrived(task.task);
    return task;
  }

  private claimed(native: Native, message: Message): void {
    const { task: name, epoch, host } = readClaim(message, '');
    const task = this.tasks.get(name);
    if (task === undefined || task.uid !== native.uid || epoch <= task.epoch) return;
    task.epoch = epoch;
    if (host > 0 && task.move === null) task.host = host;
    if (epoch > 1 && task.move !== null) this.tell(task, 'claimed');
  }

  /** A deputy tells that its task has ended: one that this agent knows of, or one of before. */
  ended(native: Native, body: Fields): Fields {
    const news = readEnded(body, '');
    let task = this.tasks.get(news.task);
    if (task === undefined && body['startedMs'] !== undefined)
      task = this.taken(native, readDeputyAnnounce(body, '')) ?? undefined;
    if (task !== undefined && task.uid === native.uid) {
      task.cpuSeconds = Math.max(task.cpuSeconds, news.cpuSeconds);
      this.finish(task, 'ended', shellStatus(news.status), '');
    }
    return {};
  }

  /** A deputy is silent. */
  gone(native: Native): void {
    for (const task of this.tasks.values()) {
      if (task.deputy !== native) continue;
      task.deputy = null;
      task.missedMs = this.options.clock.monotonicMs();
    }
  }

  /** skeind tells that a deputy has ended. */
  deputyEnded({ task: name, how, inOrder }: Ending): void {
    const { log } = this.options;
    const task = this.tasks.get(name) ?? this.recovered(name);
    if (task === null || inOrder) {
      this.deputies.forget(name);
      return;
    }
    if (this.requests.has(name) || !this.deputies.isResumable(name)) {
      this.lose(task, `its deputy ${how} before it ran (native.log says why)`);
    } else if (!this.deputies.mayRestart(name)) {
      this.lose(task, `its deputy ${how}, again and again (native.log says why)`);
    } else {
      log.warn({ task: name, how }, 'a deputy has died: it is started again');
      this.deputies
        .launch(task)
        .catch((error: unknown) => this.lose(task, `its deputy ${how}: ${messageOf(error)}`));
    }
  }

  /** A task whose deputy died while there was no agent; null: there is nothing left of it. */
  private recovered(name: string): HomeTask | null {
    const { groupOf, clock } = this.options;
    const uid = this.deputies.known().get(name);
    const isEnded = this.options.history.get(name) !== undefined;
    if (uid === undefined || isEnded || !this.deputies.isResumable(name)) return null;
    const task = freshTask(name, uid, groupOf(uid), clock.wallMs());
    task.detach = true;
    this.tasks.set(name, task);
    return task;
  }

  /** skeind has told what runs: a detached task without a deputy ended with the skeind of before. */
  launcherIsReady(running: readonly Running[]): void {
    const alive = new Set(running.filter(({ role }) => role === 'deputy').map(({ task }) => task));
    for (const [name, uid] of this.deputies.known()) {
      if (alive.has(name)) continue;
      if (this.deputies.isResumable(name) && this.options.history.get(name) === undefined) {
        const { groupOf, clock, nodes } = this.options;
        const task = this.tasks.get(name) ?? freshTask(name, uid, groupOf(uid), clock.wallMs());
        task.detach = true;
        this.tasks.set(name, task);
        this.lose(task, `node ${nodes.self}, its home, was restarted while it ran`);
      }
      this.deputies.forget(name);
    }
  }

  // --- what hosts say -------------------------------------------------------------------------------

  reported(from: number, body: Fields): void {
    const news = readReport(body, '');
    const task = this.tasks.get(news.task);
    const { nodes, clock, history } = this.options;
    if (task === undefined) {
      // It ended while its host could not be reached. One that nobody here knows may have a stopped runon, which says
      // nothing; without any its shepherd ends it.
      if (history.get(news.task) !== undefined)
        nodes.tell(from, { t: 'task-quit', task: news.task, epoch: news.epoch });
      return;
    }
    if (news.epoch < task.epoch) return;
    if (task.move === null) task.host = from;
    task.heardMs = clock.monotonicMs();
    task.pid = news.pid;
    task.cpuSeconds = news.cpuSeconds;
    task.residentBytes = news.residentBytes;
    if (news.wantsPolicy) this.sendPolicy(task, from);
  }

  sendPolicy(task: HomeTask, host: number): void {
    const { nodes, clock } = this.options;
    nodes.tell(host, { t: 'task-policy', task: task.task, policy: policyOf(task, clock.monotonicMs()) });
  }

  /** A host tells that a shepherd has ended, without its task having ended or gone on. */
  hostGone(from: number, body: Fields): void {
    const { task: name, epoch, held, reason } = readGone(body, '');
    const task = this.tasks.get(name);
    if (task === undefined) return;
    task.gone.set(from, { epoch, held, reason });
    if (task.move === null) this.judge(task);
    else if (from === task.move.to) task.move.giveUp.abort(new AgentError('failed', reason));
  }

  /** Once a second: tasks whose host is dead, or has not told of them for long. */
  tick(): void {
    const { isDead, history, clock } = this.options;
    const nowMs = clock.monotonicMs();
    for (const task of [...this.tasks.values()]) {
      this.knock(task, nowMs).catch((error: unknown) =>
        this.options.log.warn({ task: task.task, problem: messageOf(error) }, 'its runon was not looked for'),
      );
      if (task.move !== null || task.host === 0) continue;
      const isSilent = nowMs - task.heardMs > REPORT_OVERDUE_MS;
      // Of a deputy that skeind started, skeind tells.
      if (!task.detach && task.deputy === null && nowMs - task.missedMs > RUNON_GONE_MS)
        this.lose(task, 'the runon that it belonged to is gone');
      else if (isDead(task.host) && task.silentMs > ANSWER_TIMEOUT_MS)
        this.lose(task, `node ${task.host}, where it ran, is dead`);
      else if (isSilent && !task.isAsking)
        this.askAbout(task).catch((error: unknown) =>
          this.options.log.warn({ task: task.task, problem: messageOf(error) }, 'its host does not answer'),
        );
    }
    history.prune(clock.wallMs());
  }

  /** A runon that was killed says nothing, as one does that is stopped; but its door is closed. */
  private async knock(task: HomeTask, nowMs: number): Promise<void> {
    const { announcedMs, endpoint } = task;
    const againMs = task.asleep ? STOPPED_KNOCK_MS : RUNON_SILENT_MS;
    // Of a deputy that skeind started, skeind tells.
    if (task.detach || endpoint === '' || nowMs - Math.max(announcedMs, task.knockedMs) < againMs) return;
    task.knockedMs = nowMs;
    if ((await this.options.isRefused(endpoint)) && task.announcedMs === announcedMs)
      this.lose(task, 'the runon that it belonged to is gone');
  }

  /** What its host told may have been lost on the way. */
  private async askAbout(task: HomeTask): Promise<void> {
    const { nodes } = this.options;
    const { host, epoch } = task;
    task.isAsking = true;
    try {
      const answer = await nodes.ask(
        host,
        { t: 'task-there', task: task.task },
        { timeoutMs: ANSWER_TIMEOUT_MS },
      );
      const isSame = task.host === host && task.epoch === epoch && task.move === null;
      if (answer['there'] === false && isSame) this.lose(task, `node ${host} has it no more`);
      else task.heardMs = this.options.clock.monotonicMs();
    } finally {
      task.isAsking = false;
    }
  }

  /** Whether its shepherd is gone: then the task is lost, and this says why. */
  judge(task: HomeTask): string | null {
    const loss = lossOf(task);
    if (loss !== null) this.lose(task, loss);
    return loss;
  }

  private lose(task: HomeTask, reason: string): void {
    if (!this.tasks.has(task.task)) return;
    const { natives, nodes, log } = this.options;
    log.warn({ task: task.task, reason }, 'a task is lost');
    if (task.deputy !== null) natives.tell(task.deputy, { t: 'lost', reason });
    if (task.host > 0) nodes.tell(task.host, { t: 'task-quit', task: task.task, epoch: task.epoch });
    if (task.move !== null) {
      nodes.tell(task.move.to, { t: 'task-quit', task: task.task, epoch: task.epoch + 1 });
      task.move.giveUp.abort(new AgentError('lost', `task ${task.task} is lost: ${reason}`));
    }
    this.finish(task, 'lost', LOST_STATUS, reason);
  }

  private finish(task: HomeTask, state: 'ended' | 'lost', status: number, reason: string): void {
    const { history, clock, log } = this.options;
    this.tasks.delete(task.task);
    this.requests.delete(task.task);
    const { uid, command, name, detach, host, pid, cpuSeconds, moves, epoch } = task;
    const ended: EndedTask = {
      task: task.task,
      ...{ uid, state, status, reason, command, name, detach, host, pid, cpuSeconds, moves, epoch },
      endedAtMs: clock.wallMs(),
    };
    for (const waiter of task.waiters) waiter(ended);
    for (const starter of task.starters) starter(ended);
    try {
      history.add(ended);
    } catch (error) {
      log.error({ task: task.task, problem: messageOf(error) }, 'how a task ended could not be written down');
    }
    this.options.event({ event: 'task', task: task.task, state, status, reason });
  }

  private tell(task: HomeTask, state: string): void {
    this.options.event({ event: 'task', task: task.task, state, host: task.host, epoch: task.epoch });
  }
}

/** What Skein itself answers with when a command never ran. */
function wasRefused({ status, state, epoch, cpuSeconds }: EndedTask): boolean {
  return state === 'lost' || (cpuSeconds === 0 && status >= 125 && status <= 127 && epoch <= 1);
}

function startFailure({ status, reason }: EndedTask, { argv }: StartRequest): string {
  const command = commandLine(argv.slice(0, 1), MOST_COMMAND);
  if (reason !== '') return reason;
  if (status === 127) return `${command}: no such command`;
  if (status === 126) return `${command}: can't be executed`;
  return `${command} could not be started (native.log in the node's folder says why)`;
}
