/*
 * The tasks that run on this node, wherever they are at home: their shepherds.
 *
 * A task may have two shepherds here for a moment, when it comes back while the old one is still ending; so shepherds
 * are kept by their tokens, and the one with the highest epoch is the task's.
 */
import { AgentError, messageOf } from '../base/errors.js';
import { COMES_BACK_MS, RECEIVE_TIMEOUT_MS, SEND_TIMEOUT_MS } from '../base/limits.js';
import { parseTaskId } from '../base/ids.js';
import { Arrivals } from './arrivals.js';
import type { Ending, Running } from './launcher.js';
import type { Clock, Door, Fields, Launch, Log, Message, Native, Natives, Nodes } from './ports.js';
import {
  readAssignment,
  readDoor,
  readShepherdAnnounce,
  readTaskEpoch,
  type Policy,
  type Report,
  type ShepherdAnnounce,
} from './shapes.js';
import type { Tokens } from './tokens.js';

export interface HostedTask {
  readonly task: string;
  readonly state: 'starting' | 'running' | 'stopped' | 'migrating';
  /** Runnable threads, smoothed over some seconds. */
  readonly threads: number;
  readonly residentBytes: number;
  readonly arrivedAtMs: number;
  readonly policy: Policy | null;
  readonly pinnedUntilMs: number;
}

interface Shepherd {
  readonly token: string;
  readonly task: string;
  readonly home: number;
  epoch: number;
  assignment: Fields | null;
  native: Native | null;
  policy: Policy | null;
  pinnedUntilMs: number;
  report: ShepherdAnnounce | null;
  threads: number;
  arrivedAtMs: number;
  /** It has said that the task runs here. */
  hasArrived: boolean;
  /** It has said that its task ended. */
  hasEnded: boolean;
  /** To give up waiting for it, while it sends. */
  sending: AbortController | null;
  hasSent: boolean;
  /** A target waits for its keys. */
  receiving: ((door: Door | AgentError) => void) | null;
}

interface HostOptions {
  readonly nodes: Nodes;
  readonly natives: Natives;
  readonly launch: Launch;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly log: Log;
  readonly address: string;
  /** Who the agent is: 0 can start programs as anybody, others only as themselves. */
  readonly ownUid: number;
  readonly event: (event: Fields) => void;
}

/** Root's tasks run as nobody (and see themselves as root, of their own namespace). */
const NOBODY = 65_534;
const WHY_TIMEOUT_MS = 10_000;
/** Of the old value, per second: runnable threads are counted at one moment of each. */
const THREADS_KEEP = 0.6;

export class HostTasks {
  private readonly shepherds = new Map<string, Shepherd>();
  private readonly arrivals = new Arrivals();

  constructor(private readonly options: HostOptions) {
    for (const { token, role, task, home } of options.tokens.all())
      if (role === 'shepherd') this.shepherds.set(token, this.fresh(token, task, home, 0));
  }

  /** What runs here now, for the balancer and for `skein nodes`. */
  list(): HostedTask[] {
    const best = new Map<string, Shepherd>();
    for (const shepherd of this.shepherds.values()) {
      const other = best.get(shepherd.task);
      if (!shepherd.hasEnded && !shepherd.hasSent && (other === undefined || other.epoch < shepherd.epoch))
        best.set(shepherd.task, shepherd);
    }
    return [...best.values()].map((shepherd) => ({
      task: shepherd.task,
      state: shepherd.sending !== null ? 'migrating' : runningState(shepherd.report?.state),
      threads: shepherd.threads,
      residentBytes: shepherd.report?.residentBytes ?? 0,
      arrivedAtMs: shepherd.arrivedAtMs,
      policy: shepherd.policy,
      pinnedUntilMs: shepherd.pinnedUntilMs,
    }));
  }

  /** Starts a task's shepherd; resolves when skeind has started it. */
  async start(body: Fields): Promise<Fields> {
    await this.launch(body, 'start');
    return {};
  }

  /** Starts a shepherd that receives a task; resolves with where and how to send it. */
  async receive(body: Fields): Promise<Fields> {
    let settle: (result: Door | AgentError) => void = () => undefined;
    const opened = new Promise<Door | AgentError>((resolve) => (settle = resolve));
    const shepherd = await this.launch(body, 'receive', settle);
    const timer = setTimeout(
      () => settle(new AgentError('timeout', 'the target was not ready in time')),
      RECEIVE_TIMEOUT_MS,
    );
    const result = await opened;
    clearTimeout(timer);
    shepherd.receiving = null;
    if (!(result instanceof AgentError)) return result;
    this.end(shepherd);
    throw result;
  }

  /** Sends a task to the target whose keys these are; resolves when it runs there. */
  async send(body: Fields): Promise<Fields> {
    const { task, epoch } = readTaskEpoch(body, '');
    const door = readDoor(body, '');
    const shepherd = await this.running(task);
    if (shepherd.sending !== null) throw new AgentError('busy', `task ${task} is on the move already`);
    const sending = new AbortController();
    shepherd.sending = sending;
    try {
      const answer = await this.options.natives.ask(
        nativeOf(shepherd),
        { ...door, t: 'send', epoch },
        { timeoutMs: SEND_TIMEOUT_MS, signal: sending.signal },
      );
      shepherd.hasSent = true;
      return answer;
    } catch (error) {
      throw sending.signal.aborted ? new AgentError('failed', String(sending.signal.reason)) : error;
    } finally {
      shepherd.sending = null;
    }
  }

  async why(task: string): Promise<Fields> {
    const native = nativeOf(await this.running(task));
    return this.options.natives.ask(native, { t: 'why' }, { timeoutMs: WHY_TIMEOUT_MS });
  }

  /** Whether something here looks after that task. */
  isThere(task: string): boolean {
    return [...this.shepherds.values()].some((shepherd) => shepherd.task === task);
  }

  /** skeind has told what runs: the other shepherds that are known ended with the skeind of before. */
  launcherIsReady(running: readonly Running[]): void {
    const alive = new Set(running.map(({ token }) => token));
    for (const { token, task } of [...this.shepherds.values()]) {
      if (alive.has(token)) continue;
      this.ended({ role: 'shepherd', task, token, how: 'ended with its node', inOrder: false });
    }
  }

  /** Ends what runs this epoch of a task, or was to receive it. */
  quit(task: string, epoch: number): void {
    for (const shepherd of this.shepherds.values())
      if (shepherd.task === task && shepherd.epoch === epoch) this.end(shepherd);
  }

  /** Ends what was to receive this epoch of a task, and has not. */
  drop(task: string, epoch: number): void {
    for (const shepherd of this.shepherds.values()) {
      if (shepherd.task === task && shepherd.epoch === epoch && !holds(shepherd)) this.end(shepherd);
    }
  }

  /** A move was given up: its source goes on. */
  abort(task: string, epoch: number): void {
    for (const shepherd of this.shepherds.values())
      if (shepherd.task === task && shepherd.epoch === epoch && shepherd.native !== null)
        this.options.natives.tell(shepherd.native, { t: 'abort' });
  }

  setPolicy(task: string, policy: Policy): void {
    for (const shepherd of this.shepherds.values()) {
      if (shepherd.task !== task) continue;
      shepherd.policy = policy;
      shepherd.pinnedUntilMs = this.options.clock.monotonicMs() + policy.pinnedForMs;
    }
  }

  // --- what natives and skeind say ---------------------------------------------------------------

  helloExtra(native: Native): Fields {
    const shepherd = this.ofNative(native);
    const assignment = shepherd?.assignment ?? null;
    return assignment === null ? {} : { assignment };
  }

  hello(native: Native): void {
    const shepherd = this.ofNative(native);
    if (shepherd === undefined) return;
    shepherd.native = native;
    this.arrivals.arrived(shepherd.task);
  }

  gone(native: Native): void {
    const shepherd = this.ofNative(native);
    if (shepherd?.native === native) shepherd.native = null;
  }

  heard(native: Native, message: Message): void {
    const shepherd = this.ofNative(native);
    if (shepherd === undefined) return;
    switch (message.t) {
      case 'announce':
        this.announced(shepherd, readShepherdAnnounce(message, ''));
        return;
      case 'receiving':
        shepherd.receiving?.(readDoor(message, ''));
        return;
      case 'start-failed':
      case 'task-ended':
        shepherd.hasEnded = true;
        return;
      case 'started':
      case 'resumed':
        shepherd.hasArrived = true;
        shepherd.arrivedAtMs = this.options.clock.monotonicMs();
        return;
      case 'stage':
        this.options.event({ event: 'stage', task: shepherd.task, stage: message['stage'] });
        return;
      default:
        this.options.log.warn({ task: shepherd.task, type: message.t }, 'a shepherd said something unknown');
    }
  }

  /** skeind says that a shepherd has ended. */
  ended(ending: Ending): void {
    const shepherd = this.shepherds.get(ending.token);
    if (shepherd === undefined) return;
    this.shepherds.delete(shepherd.token);
    this.options.tokens.drop(shepherd.token);
    shepherd.receiving?.(new AgentError('failed', `the target's shepherd ${ending.how}`));
    const { task, epoch, home } = shepherd;
    this.options.log.info({ task, epoch, how: ending.how, inOrder: ending.inOrder }, 'a shepherd has ended');
    const reason = `its shepherd on node ${this.options.nodes.self} ${ending.how}`;
    shepherd.sending?.abort(reason);
    const isNoLoss = shepherd.hasEnded || (shepherd.hasSent && ending.inOrder);
    if (isNoLoss) return;
    this.options.nodes.tell(home, { t: 'task-gone', task, epoch, held: holds(shepherd), reason });
  }

  // --------------------------------------------------------------------------------------------------

  private fresh(token: string, task: string, home: number, epoch: number): Shepherd {
    return {
      token,
      task,
      home,
      epoch,
      assignment: null,
      native: null,
      policy: null,
      pinnedUntilMs: 0,
      report: null,
      threads: 0,
      arrivedAtMs: this.options.clock.monotonicMs(),
      hasArrived: false,
      hasEnded: false,
      sending: null,
      hasSent: false,
      receiving: null,
    };
  }

  private async launch(
    body: Fields,
    mode: 'start' | 'receive',
    receiving: Shepherd['receiving'] = null,
  ): Promise<Shepherd> {
    const assignment = readAssignment(body, '');
    const { task, home, epoch, deputy, name, policy } = assignment;
    if (parseTaskId(task)?.home !== home)
      throw new AgentError('bad-request', `task ${task} is not of node ${home}`);
    const { uid, gid } = this.runAs(assignment.uid, assignment.gid);
    const token = this.options.tokens.make({
      role: 'shepherd',
      task,
      uid,
      home,
      receives: mode === 'receive',
    });
    const shepherd = this.fresh(token, task, home, epoch);
    shepherd.assignment = {
      mode,
      task,
      epoch,
      uid: assignment.uid,
      gid: assignment.gid,
      deputy,
      address: this.options.address,
      name,
      hostNumber: this.options.nodes.self,
    };
    shepherd.receiving = receiving;
    this.shepherds.set(token, shepherd);
    this.setPolicy(task, policy);
    try {
      await this.options.launch.start('shepherd', { uid, gid, task, token });
    } catch (error) {
      this.shepherds.delete(token);
      this.options.tokens.drop(token);
      throw new AgentError(
        'failed',
        `node ${this.options.nodes.self} can't start a shepherd: ${messageOf(error)}`,
      );
    }
    return shepherd;
  }

  private runAs(uid: number, gid: number): { uid: number; gid: number } {
    const { ownUid, nodes } = this.options;
    if (ownUid === 0) return uid === 0 ? { uid: NOBODY, gid: NOBODY } : { uid, gid };
    if (uid !== ownUid)
      throw new AgentError(
        'denied',
        `node ${nodes.self} runs as user ${ownUid} and takes only that user's tasks`,
      );
    return { uid, gid };
  }

  private ofNative(native: Native): Shepherd | undefined {
    return native.token === null ? undefined : this.shepherds.get(native.token);
  }

  /** The shepherd that runs a task; one that has yet to come back to an agent that was restarted is waited for. */
  private async running(task: string): Promise<Shepherd> {
    const ofTask = (): Shepherd[] =>
      [...this.shepherds.values()]
        .filter((one) => one.task === task && !one.hasSent && !isArriving(one))
        .sort((one, other) => other.epoch - one.epoch);
    const isMissing = ofTask().length > 0 && ofTask().every(({ native }) => native === null);
    if (isMissing) await this.arrivals.wait(task, COMES_BACK_MS);
    const found = ofTask().find(({ native }) => native !== null);
    if (found === undefined)
      throw new AgentError('not-running', `task ${task} does not run on node ${this.options.nodes.self}`);
    return found;
  }

  private announced(shepherd: Shepherd, report: ShepherdAnnounce): void {
    // A target holds nothing until it has claimed: its epoch is 0 until then.
    if (report.epoch > 0) shepherd.epoch = report.epoch;
    shepherd.report = report;
    shepherd.threads = THREADS_KEEP * shepherd.threads + (1 - THREADS_KEEP) * report.runnable;
    if (report.state === 'ended') shepherd.hasEnded = true;
    // Of one that has ended, too: when home knows it and the deputy is gone, nobody else will let this shepherd go.
    if (report.epoch === 0) return;
    const { task, epoch, pid, cpuSeconds, residentBytes, runnable } = report;
    const news: Report = {
      task,
      epoch,
      pid,
      cpuSeconds,
      residentBytes,
      runnable,
      wantsPolicy: shepherd.policy === null,
    };
    this.options.nodes.tell(shepherd.home, { ...news, t: 'task-report' });
  }

  private end(shepherd: Shepherd): void {
    if (shepherd.native !== null) this.options.natives.tell(shepherd.native, { t: 'quit' });
  }
}

/** It is there to receive the task, and has not got it. */
function isArriving({ assignment, report, hasArrived }: Shepherd): boolean {
  if (hasArrived || (report !== null && report.epoch > 0)) return false;
  return report !== null || assignment?.['mode'] === 'receive';
}

function nativeOf(shepherd: Shepherd): Native {
  if (shepherd.native === null)
    throw new AgentError('not-running', `the shepherd of ${shepherd.task} does not answer`);
  return shepherd.native;
}

/** A target has the task only once it has claimed. */
function holds({ assignment, report, hasArrived }: Shepherd): boolean {
  return assignment?.['mode'] === 'start' || hasArrived || (report?.epoch ?? 0) > 0;
}

function runningState(state: ShepherdAnnounce['state'] | undefined): HostedTask['state'] {
  return state === 'running' || state === 'stopped' ? state : 'starting';
}
