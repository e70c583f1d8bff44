/*
 * Moves of tasks whose home is here, and what the balancer wants moved of those that run here.
 */
import { AgentError, messageOf } from '../../base/errors.js';
import { ANSWER_TIMEOUT_MS, HAND_PLACED_MS, RECEIVE_TIMEOUT_MS, SEND_TIMEOUT_MS } from '../../base/limits.js';
import { runMove, type MoveWorld } from '../../migration/run.js';
import type { HomeTasks } from '../../tasks/home.js';
import { policyOf, type HomeTask } from '../../tasks/home-task.js';
import type { HostTasks, HostedTask } from '../../tasks/host.js';
import type { Clock, Fields, Log, Natives, Nodes } from '../../tasks/ports.js';
import { readClaim, readDoor, readSent, readWhy } from '../../tasks/shapes.js';
import {
  afterFailure,
  afterMove,
  FRESH_MEMORY,
  heldBy,
  plan,
  type BalancerMemory,
  type BalancerTask,
} from '../../../scheduler/balancer.js';
import type { Rng } from '../../../scheduler/rng.js';
import type { Members } from './members.js';

interface MovesOptions {
  readonly nodes: Nodes;
  readonly natives: Natives;
  readonly home: HomeTasks;
  readonly host: HostTasks;
  readonly members: Members;
  readonly clock: Clock;
  readonly log: Log;
  readonly rng: Rng;
  readonly event: (event: Fields) => void;
}

const PROBE_TIMEOUT_MS = 15_000;
const NOT_MOVED = { rounds: 0, bytesTotal: 0, bytesFrozen: 0, downtimeMs: 0, totalMs: 0 };

export class Moves {
  private memory: BalancerMemory = FRESH_MEMORY;
  private isMoving = false;
  private lastReasons: readonly string[] = [];

  constructor(private readonly options: MovesOptions) {}

  /** At the task's home: moves it, for a person (`asker`) or for the balancer of its host (null). */
  async move(name: string, asker: number | null, wanted: string): Promise<Fields> {
    const { home, clock, members } = this.options;
    const task = home.questions.find(name, asker ?? 0);
    if (task.move !== null)
      throw new AgentError('busy', `task ${name} is on its way to node ${task.move.to}`);
    if (task.state === 'starting' || task.deputy === null)
      throw new AgentError('not-running', `task ${name} does not run yet`);
    const to = members.choose(this.wantedOf(task, wanted), this.memory.predictions);
    if (task.allowed !== null && !task.allowed.includes(to))
      throw new AgentError('refused', `task ${name} was started for nodes ${task.allowed.join(', ')} only`);
    if (to === task.host) return { task: name, from: to, to, mode: 'none', ...NOT_MOVED };
    const from = task.host;
    if (asker !== null && /^\d+$/.test(wanted)) task.pinnedUntilMs = clock.monotonicMs() + HAND_PLACED_MS;
    const beganMs = clock.monotonicMs();
    const giveUp = new AbortController();
    task.move = { to, giveUp };
    task.gone.delete(to);
    let result: Fields | AgentError;
    try {
      const sent = await this.walk(task, from, to, giveUp.signal);
      const totalMs = Math.round((clock.monotonicMs() - beganMs) * 1000) / 1000;
      this.memory = afterMove(this.memory, { from, to, threads: 1, nowMs: clock.monotonicMs() });
      result = { task: name, from, to, mode: 'pre-copy', ...sent, totalMs };
    } catch (error) {
      result = error instanceof AgentError ? error : new AgentError('failed', messageOf(error));
    }
    task.move = null;
    home.sendPolicy(task, task.host);
    const loss = home.judge(task);
    if (loss !== null) throw new AgentError('lost', `task ${name} is lost: ${loss}`);
    if (result instanceof AgentError) throw result;
    return result;
  }

  private wantedOf(task: HomeTask, wanted: string): string {
    return wanted === 'best' && task.allowed !== null ? task.allowed.join(',') : wanted;
  }

  private async walk(
    task: HomeTask,
    from: number,
    to: number,
    giveUp: AbortSignal,
  ): Promise<ReturnType<typeof readSent>> {
    const { log, event, clock } = this.options;
    const epoch = task.epoch + 1;
    const name = task.task;
    const movesBefore = task.moves;
    log.info({ task: name, from, to, epoch }, 'a move begins');
    const outcome = await runMove(this.world(task, from, to, epoch, giveUp), (stage) => {
      event({ event: 'stage', task: name, stage: `home ${stage}`, from, to });
    });
    if (!outcome.moved) {
      log.warn({ task: name, from, to, problem: outcome.error.message }, 'a move failed');
      throw outcome.error;
    }
    task.host = to;
    task.epoch = Math.max(task.epoch, epoch);
    // Its deputy counts too, and may have told already.
    task.moves = Math.max(task.moves, movesBefore + 1);
    log.info({ task: name, from, to, epoch, atMs: clock.monotonicMs() }, 'a task has moved');
    event({ event: 'moved', task: name, from, to, epoch });
    return outcome.sent === null ? NOT_MOVED : readSent(outcome.sent, '');
  }

  private world(task: HomeTask, from: number, to: number, epoch: number, giveUp: AbortSignal): MoveWorld {
    const { nodes, natives, clock } = this.options;
    const name = task.task;
    const deputy = (): NonNullable<HomeTask['deputy']> => {
      if (task.deputy === null) throw new AgentError('not-running', `the deputy of ${name} does not answer`);
      return task.deputy;
    };
    return {
      probe: async () => {
        const answer = readWhy(
          await nodes.ask(from, { t: 'task-why', task: name }, { timeoutMs: PROBE_TIMEOUT_MS }),
          '',
        );
        if (answer.movable) return;
        const why = answer.reasons.map(({ detail }) => detail).join('; ');
        throw new AgentError('stay', `task ${name} can't be moved now: ${why}`, { reasons: answer.reasons });
      },
      admit: async () =>
        readDoor(
          await natives.ask(deputy(), { t: 'candidate', epoch, host: to }, { timeoutMs: ANSWER_TIMEOUT_MS }),
          '',
        ),
      receive: async (door) => {
        const { uid, gid } = task;
        const policy = policyOf({ ...task, moves: task.moves + 1 }, clock.monotonicMs());
        const fields = {
          task: name,
          home: nodes.self,
          epoch,
          uid,
          gid,
          name: task.name,
          deputy: door,
          policy,
        };
        const timeoutMs = RECEIVE_TIMEOUT_MS + ANSWER_TIMEOUT_MS;
        return readDoor(await nodes.ask(to, { ...fields, t: 'task-receive' }, { timeoutMs }), '');
      },
      send: (door) =>
        unlessAborted(
          nodes.ask(from, { ...door, t: 'task-send', task: name, epoch }, { timeoutMs: SEND_TIMEOUT_MS }),
          giveUp,
        ),
      undo: (stage) => {
        if (stage === 'send') nodes.tell(from, { t: 'task-abort', task: name, epoch: epoch - 1 });
        else nodes.tell(to, { t: 'task-drop', task: name, epoch });
        return Promise.resolve();
      },
      settle: () => this.settle(task, to, epoch),
    };
  }

  /** The deputy takes the candidate's keys back, and says whether it had claimed before. */
  private async settle(task: HomeTask, to: number, epoch: number): Promise<'source' | 'target'> {
    const { natives } = this.options;
    if (task.deputy === null) throw new AgentError('not-running', 'its deputy does not answer');
    const answer = await natives.ask(
      task.deputy,
      { t: 'candidate-drop', epoch },
      { timeoutMs: ANSWER_TIMEOUT_MS },
    );
    const current = readClaim({ ...answer, task: task.task }, '');
    task.epoch = Math.max(task.epoch, current.epoch);
    // The source may have taken the new epoch for itself, so that the target can't.
    return current.epoch >= epoch && current.host === to ? 'target' : 'source';
  }

  async why(name: string, asker: number): Promise<Fields> {
    const { home, nodes } = this.options;
    const task = home.questions.find(name, asker);
    const answer = readWhy(
      await nodes.ask(task.host, { t: 'task-why', task: name }, { timeoutMs: PROBE_TIMEOUT_MS }),
      '',
    );
    const decision = await nodes.ask(
      task.host,
      { t: 'decision', task: name },
      { timeoutMs: ANSWER_TIMEOUT_MS },
    );
    return { ...answer, lastDecision: decision['lastDecision'] ?? null };
  }

  // --- balancing ------------------------------------------------------------------------------------

  /** Once a second: at most one task of those that run here is sent away. */
  balance(): void {
    const { host, members, nodes, clock, rng, log } = this.options;
    if (this.isMoving) return;
    const nowMs = clock.monotonicMs();
    const tasks = host.list().map((task) => this.asBalancerTask(task));
    const { move, reasons, memory } = plan({
      self: nodes.self,
      board: members.rows(),
      liveness: members.liveness(),
      tasks,
      memory: this.memory,
      nowMs,
      rng,
    });
    this.memory = memory;
    this.lastReasons = reasons;
    if (move === null) return;
    const threads = tasks.find(({ task }) => task === move.task)?.threads ?? 1;
    log.info({ ...move, reasons }, 'the balancer sends a task away');
    this.isMoving = true;
    this.send(move.task, move.to)
      .then(() => {
        this.memory = afterMove(this.memory, { ...move, threads, nowMs: clock.monotonicMs() });
      })
      .catch((error: unknown) => {
        this.memory = afterFailure(this.memory, move.task, clock.monotonicMs());
        this.lastReasons = [`moving ${move.task} to node ${move.to} failed: ${messageOf(error)}`];
        log.warn({ ...move, problem: messageOf(error) }, 'the balancer could not move a task');
      })
      .finally(() => {
        this.isMoving = false;
      });
  }

  private async send(task: string, to: number): Promise<void> {
    const home = Number(task.split('.')[0]);
    await this.options.nodes.ask(home, { t: 'task-move', task, to }, { timeoutMs: SEND_TIMEOUT_MS });
  }

  private asBalancerTask(task: HostedTask): BalancerTask {
    const { policy } = task;
    return {
      task: task.task,
      state: task.state,
      threads: task.threads,
      residentBytes: task.residentBytes,
      arrivedAtMs: task.arrivedAtMs,
      moves: policy?.moves ?? 0,
      stay: policy?.stay ?? false,
      terminal: policy?.terminal ?? false,
      pinnedUntilMs: task.pinnedUntilMs,
      allowed: policy?.allowed ?? null,
      // Without its policy nothing is known of what its user wants.
      immovable: policy === null ? 'its home has not said yet what may be done with it' : null,
    };
  }

  /** Why the balancer leaves a task where it is, or what it thought last. */
  decision(name: string): Fields {
    const task = this.options.host.list().find((one) => one.task === name);
    if (task === undefined) return { lastDecision: null };
    const held = heldBy(this.asBalancerTask(task), this.memory, this.options.clock.monotonicMs());
    return { lastDecision: held ?? this.lastReasons.join('; ') };
  }

  predictions(): BalancerMemory['predictions'] {
    return this.memory.predictions;
  }

  /** A task was just placed there: it does not show in the node's load yet. */
  placed(node: number): void {
    const nowMs = this.options.clock.monotonicMs();
    this.memory = {
      ...afterMove(this.memory, { from: null, to: node, threads: 1, nowMs }),
      wanted: this.memory.wanted,
    };
  }
}

/** The promise, or what the signal is aborted with if that comes first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
