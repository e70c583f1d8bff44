/*
 * The agent of one node: `node main.js --config FILE`, started by skeind, which is at the other end of descriptor 3.
 *
 * It only wires: who is there (main/members), tasks at home and here (../tasks), moves (main/moves), clients, and the
 * sockets to other agents and to the programs of this machine. It may be killed at any time: everything it knows comes
 * back by gossip and by announcements, or is in the state folder.
 */
import { Socket } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { monotonicMs, wallMs } from '../base/clock.js';
import { AgentError, messageOf } from '../base/errors.js';
import { ANSWER_TIMEOUT_MS } from '../base/limits.js';
import { packFields, type LocalMessage } from '../wire/codec-local.js';
import { openLocalServer, type LocalPeer, type LocalServer } from '../wire/local-server.js';
import { openPeers, type Peers } from '../wire/peers.js';
import { History } from '../tasks/history.js';
import { HomeTasks } from '../tasks/home.js';
import { HostTasks } from '../tasks/host.js';
import { Launcher } from '../tasks/launcher.js';
import type { Ask, Fields, Log, Message, Native, Natives, Nodes } from '../tasks/ports.js';
import { readPolicy, readTaskEpoch, taskName } from '../tasks/shapes.js';
import { Tokens } from '../tasks/tokens.js';
import { integer, object, text } from '../base/schema.js';
import { answerAtHome, answerClient, type ClientWorld } from './clients.js';
import { isRefused } from './door.js';
import { readGossip } from './gossip.js';
import { Members } from './main/members.js';
import { Moves } from './main/moves.js';
import { nodeFacts, Probe } from './probe.js';
import { readSettings, SettingsError, type Settings } from './settings.js';
import { readUsers } from './users.js';

const BAD_CONFIGURATION = 78;
const SKEIND_DESCRIPTOR = 3;
const TICK_MS = 1_000;
const readOne = object({ task: taskName });
const readMoveRequest = object({ task: taskName, to: integer(1, 65_535) });
const readForwarded = object({ asker: integer(0, 2 ** 32 - 2) });
const readTasksQuestion = object({ asker: integer(0, 2 ** 32 - 2), all: (value) => value === true });
const readForwardedType = object({ t: text(40) });

class Agent {
  private readonly self: number;
  private readonly members: Members;
  private readonly home: HomeTasks;
  private readonly host: HostTasks;
  private readonly moves: Moves;
  private readonly launcher: Launcher;
  private readonly probe: Probe;
  private readonly subscribers = new Set<LocalPeer>();
  private readonly clients: ClientWorld;
  private peers: Peers | undefined;
  private local: LocalServer | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly settings: Settings,
    cpus: number,
    private readonly log: Log,
  ) {
    const { config, map, address } = settings;
    this.self = config.node;
    this.probe = new Probe(config.isolate !== null, (error) =>
      log.warn({ problem: messageOf(error) }, 'memory or traffic could not be measured'),
    );
    this.members = new Members({
      self: config.node,
      addresses: map.nodes,
      cpus,
      speed: config.speed,
      incarnation: wallMs(),
      rng: Math.random,
      nowMs: monotonicMs,
    });
    const tokens = new Tokens(join(config.statePath, 'natives.json'), (problem) =>
      log.warn({ problem }, 'what was started before is forgotten'),
    );
    this.launcher = new Launcher(
      new Socket({ fd: SKEIND_DESCRIPTOR }),
      wallMs() * 100,
      tokens,
      {
        ended: (ending) => {
          if (ending.role === 'shepherd') this.host.ended(ending);
          else this.home.deputyEnded(ending);
        },
        ready: (running) => {
          this.host.launcherIsReady(running);
          this.home.launcherIsReady(running);
        },
        gone: () => process.exit(0),
      },
      log,
    );
    const users = readUsers();
    const clock = { monotonicMs, wallMs };
    const nodes: Nodes = {
      self: config.node,
      ask: (node, message, options) => this.ask(node, message, options),
      tell: (node, message) => this.tell(node, message),
    };
    const natives: Natives = {
      ask: async (native, message, options) => this.server().request(native as LocalPeer, message, options),
      tell: (native, message) => this.server().event(native as LocalPeer, message),
      expectSilence: (native, silent) => this.server().expectSilence(native as LocalPeer, silent),
    };
    const ownUid = process.getuid?.() ?? 0;
    const event = (fields: Fields): void => this.announce(fields);
    const common = { nodes, natives, launch: this.launcher, tokens, clock, log, ownUid, event };
    this.host = new HostTasks({ ...common, address });
    this.home = new HomeTasks({
      ...common,
      history: new History(config.statePath, config.node, wallMs()),
      statePath: config.statePath,
      place: (wanted) => {
        const node = this.members.choose(wanted, this.moves.predictions());
        this.moves.placed(node);
        return node;
      },
      isDead: (node) => this.members.isDead(node),
      groupOf: (uid) => users.group(uid),
      isRefused,
      userName: (uid) => users.name(uid),
      encode: packFields,
    });
    const { home, host, members } = this;
    this.moves = new Moves({ nodes, natives, home, host, members, clock, log, rng: Math.random, event });
    this.clients = {
      self: config.node,
      nodes: () => members.list(),
      board: (node) => members.details(node),
      tasks: (asker, all) => this.allTasks(asker, all),
      comeBack: (task) => home.questions.comeBack(task),
      migrate: (task, asker, node) => this.moves.move(task, asker, node),
      why: (task, asker) => this.moves.why(task, asker),
      kill: (task, asker, signo) => home.questions.kill(task, asker, signo),
      wait: (task, asker, timeoutMs) => home.questions.wait(task, asker, timeoutMs),
      logs: (task, asker) => home.questions.logs(task, asker),
      ask: (node, message, timeoutMs) => this.ask(node, message, { timeoutMs }),
    };
    this.tokens = tokens;
  }

  private readonly tokens: Tokens;

  async start(): Promise<void> {
    const { config, address, secretKey, publicKey, peers } = this.settings;
    const { log } = this;
    this.peers = await openPeers({
      ...{ node: this.self, address, port: config.port, secretKey, publicKey, peers, log },
      onEvent: (from, body) => this.guard('an event of another node', () => this.peerEvent(from, body)),
      onRequest: (from, body) => this.peerRequest(from, body),
    });
    this.local = await openLocalServer({
      ...{ statePath: config.statePath, node: this.self, address, log },
      identify: (token) => this.tokens.get(token),
      helloExtra: (peer) => (peer.role === 'shepherd' ? this.host.helloExtra(peer) : {}),
      onHello: (peer) => {
        if (peer.role === 'shepherd') this.host.hello(peer);
      },
      onRequest: (peer, body) => this.localRequest(peer, body),
      onEvent: (peer, body) => this.guard('an event of a local program', () => this.localEvent(peer, body)),
      onGone: (peer) => this.localGone(peer),
    });
    this.tick();
    this.timer = setInterval(() => this.guard('a second', () => this.tick()), TICK_MS);
    this.launcher.sayReady();
    log.info({ node: this.self, address, port: config.port }, 'the agent serves');
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.local?.close();
    await this.peers?.close();
  }

  private server(): LocalServer {
    if (this.local === undefined) throw new AgentError('failed', 'the agent is starting');
    return this.local;
  }

  private tick(): void {
    const sample = this.probe.sample();
    this.members.measured(sample, this.host.list().length);
    const news = this.members.tick();
    if (news !== null) this.peers?.event(news.to, { t: 'gossip', entries: news.entries });
    this.home.tick();
    this.moves.balance();
  }

  private guard(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.log.warn({ problem: messageOf(error) }, `dropped ${what}`);
    }
  }

  // --- other nodes ----------------------------------------------------------------------------------

  private async ask(node: number, message: Message, options: Ask): Promise<Fields> {
    if (node === this.self) return this.peerRequest(this.self, message);
    if (this.peers === undefined) throw new AgentError('failed', 'the agent is starting');
    return this.peers.request(node, message, options);
  }

  private tell(node: number, message: Message): void {
    if (node === this.self) this.guard('an event of this node', () => this.peerEvent(node, message));
    else this.peers?.event(node, message);
  }

  private peerEvent(from: number, body: Message): void {
    switch (body.t) {
      case 'gossip':
        this.members.heard(readGossip(body, '').entries);
        return;
      case 'task-report':
        this.home.reported(from, body);
        return;
      case 'task-gone':
        this.home.hostGone(from, body);
        return;
      case 'task-policy':
        this.host.setPolicy(readOne(body, '').task, readPolicy(body['policy'], 'policy'));
        return;
      case 'task-abort': {
        const { task, epoch } = readTaskEpoch(body, '');
        this.host.abort(task, epoch);
        return;
      }
      case 'task-drop': {
        const { task, epoch } = readTaskEpoch(body, '');
        this.host.drop(task, epoch);
        return;
      }
      case 'task-quit': {
        const { task, epoch } = readTaskEpoch(body, '');
        this.host.quit(task, epoch);
        return;
      }
      default:
        this.log.warn({ from, type: body.t }, 'another node said something unknown');
    }
  }

  private async peerRequest(from: number, body: Message): Promise<Fields> {
    switch (body.t) {
      case 'task-start':
        return this.host.start(body);
      case 'task-receive':
        return this.host.receive(body);
      case 'task-send':
        return this.host.send(body);
      case 'task-why':
        return this.host.why(readOne(body, '').task);
      case 'task-there':
        return { there: this.host.isThere(readOne(body, '').task) };
      case 'decision':
        return this.moves.decision(readOne(body, '').task);
      case 'task-move': {
        const { task, to } = readMoveRequest(body, '');
        return this.moves.move(task, null, String(to));
      }
      case 'home-tasks': {
        const { asker, all } = readTasksQuestion(body, '');
        return { tasks: this.home.questions.list(asker, all) };
      }
      case 'client': {
        const { asker } = readForwarded(body, '');
        const request = body['request'] as Fields | undefined;
        const { t } = readForwardedType(request, 'request');
        return answerAtHome(this.clients, asker, { ...request, t });
      }
      default:
        throw new AgentError(
          'unknown-request',
          `node ${this.self} knows no "${body.t}" (asked by node ${from})`,
        );
    }
  }

  private async allTasks(asker: number, all: boolean): Promise<Fields[]> {
    const others = await Promise.all(
      this.members.alive().map(async (node) => {
        try {
          const answer = await this.ask(
            node,
            { t: 'home-tasks', asker, all },
            { timeoutMs: ANSWER_TIMEOUT_MS / 2 },
          );
          return Array.isArray(answer['tasks']) ? (answer['tasks'] as Fields[]) : [];
        } catch (error) {
          // A node that is gone has no tasks to show; `skein nodes` tells of it.
          if (error instanceof AgentError) return [];
          throw error;
        }
      }),
    );
    return [...this.home.questions.list(asker, all), ...others.flat()];
  }

  // --- programs of this machine -----------------------------------------------------------------------

  private async localRequest(peer: LocalPeer, body: LocalMessage): Promise<Fields> {
    if (peer.role === 'client') {
      if (body.t === 'events') this.subscribers.add(peer);
      return answerClient(this.clients, peer.uid, body);
    }
    if (peer.role === 'deputy') {
      if (body.t === 'start') return this.home.start(peer, body);
      if (body.t === 'begin') return this.home.begin(peer, body);
      if (body.t === 'ended') return this.home.ended(peer, body);
    }
    throw new AgentError('unknown-request', `no "${body.t}" from a ${peer.role}`);
  }

  private localEvent(peer: LocalPeer, body: LocalMessage): void {
    if (peer.role === 'shepherd') this.host.heard(peer, body);
    else if (peer.role === 'deputy') this.home.heard(peer, body);
  }

  private localGone(peer: LocalPeer): void {
    const native: Native = peer;
    this.subscribers.delete(peer);
    if (peer.role === 'shepherd') this.host.gone(native);
    else if (peer.role === 'deputy') this.home.gone(native);
  }

  private announce(fields: Fields): void {
    for (const subscriber of this.subscribers) this.local?.event(subscriber, { ...fields, t: 'event' });
  }
}

/** One line that a person can act on. */
function explain(error: unknown, settings: Settings | null): string {
  const cause = error instanceof AgentError && error.cause instanceof Error ? error.cause : error;
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE' && settings !== null)
    return `port ${settings.config.port} of ${settings.address} is in use: stop what has it, or set another \`port\` for the whole cluster`;
  if (code === 'EADDRNOTAVAIL' && settings !== null)
    return `${settings.address}, the address of node ${settings.config.node} in the map, is not this machine's`;
  return messageOf(error).split('\n')[0] ?? '';
}

async function main(): Promise<void> {
  const [flag, path] = process.argv.slice(2);
  let settings: Settings | null = null;
  try {
    if (flag !== '--config' || path === undefined) throw new SettingsError('wants --config FILE');
    settings = readSettings(path);
    const log = pino(
      { base: { node: settings.config.node } },
      pino.destination({ dest: join(settings.config.statePath, 'agent.log'), sync: true }),
    );
    process.on('uncaughtException', (error) =>
      log.error({ problem: error.stack ?? error.message }, 'a mistake in the agent'),
    );
    process.on('unhandledRejection', (reason) =>
      log.error({ problem: messageOf(reason) }, 'a mistake in the agent'),
    );
    const facts = await nodeFacts(settings.config.isolate, settings.config.cpus);
    const agent = new Agent(settings, facts.cpus, log);
    const end = (): void => {
      void agent.stop().finally(() => process.exit(0));
    };
    process.on('SIGTERM', end);
    process.on('SIGINT', end);
    await agent.start();
    log.info({ ...facts }, 'this node');
  } catch (error) {
    console.error(`agent: ${explain(error, settings)}`);
    process.exit(BAD_CONFIGURATION);
  }
}

await main();
