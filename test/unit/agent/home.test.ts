import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import { History } from '../../../runtime/tasks/history.js';
import { HomeTasks } from '../../../runtime/tasks/home.js';
import type { Fields, Launch, Native } from '../../../runtime/tasks/ports.js';
import { Tokens } from '../../../runtime/tasks/tokens.js';
import { DOOR, native, World } from './world.js';

const OWNER = 1000;
const request = {
  t: 'start',
  argv: [Buffer.from('sleep'), Buffer.from('9')],
  env: [],
  cwd: Buffer.from('/'),
  umask: 0o22,
  nice: 0,
  node: '2',
  ...DOOR,
};

let folder: string;
let world: World;
let home: HomeTasks;
let dead: Set<number>;
/** Doors that nobody listens at. */
let closed: Set<string>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-home-'));
  world = new World(1);
  dead = new Set();
  closed = new Set();
  home = freshHome();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** As an agent that has just been started in that folder. */
function freshHome(): HomeTasks {
  const { nodes, natives, clock, log, event } = world;
  const tokens = new Tokens(join(folder, 'natives.json'), (problem) => world.problems.push(problem));
  const launch: Launch = {
    start: (role, what) => {
      tokens.give(what.token, world.started.length + 1);
      return world.launch.start(role, what);
    },
  };
  return new HomeTasks({
    ...{ nodes, natives, launch, clock, log, event, tokens },
    history: new History(folder, 1, clock.wallMs()),
    statePath: folder,
    ownUid: 0,
    place: (wanted) => {
      if (wanted === '9') throw new AgentError('unknown-node', 'no node 9');
      return Number(wanted);
    },
    isDead: (node) => dead.has(node),
    groupOf: (uid) => uid,
    isRefused: (endpoint) => Promise.resolve(closed.has(endpoint)),
    userName: (uid) => `user${uid}`,
    encode: (fields) => Buffer.from(JSON.stringify(fields)),
  });
}

function announce(task: string, fields: Fields = {}, from: Native = native()): void {
  home.heard(from, {
    t: 'announce',
    task,
    epoch: 1,
    state: 'running',
    command: 'sleep 9',
    stay: false,
    tty: false,
    detach: false,
    host: 2,
    moves: 0,
    startedMs: 5,
    ...fields,
  });
}

function report(task: string, from: number, fields: Fields = {}): void {
  const news = { task, epoch: 1, pid: 2, cpuSeconds: 1, residentBytes: 5, runnable: 1, wantsPolicy: false };
  home.reported(from, { ...news, ...fields });
}

function listed(): Fields[] {
  return home.questions.list(OWNER, true);
}

async function running(): Promise<string> {
  const answer = await home.start(native(), request);
  announce(String(answer['task']));
  return String(answer['task']);
}

describe('a start', () => {
  it('asks the host, with the number of the user that was proved', async () => {
    expect(await home.start(native(), { ...request, uid: 0 })).toEqual({ task: '1.1', host: 2, epoch: 1 });
    expect(world.asked).toMatchObject([
      { to: 2, message: { t: 'task-start', task: '1.1', uid: OWNER, epoch: 1, deputy: DOOR } },
    ]);
    expect(listed()).toMatchObject([{ task: '1.1', host: 2, state: 'starting', user: 'user1000' }]);
  });

  it('for a node that is not there spends no number', async () => {
    await expect(home.start(native(), { ...request, node: '9' })).rejects.toMatchObject({
      code: 'unknown-node',
    });
    expect(await home.start(native(), request)).toMatchObject({ task: '1.1' });
  });

  it('that the host refuses leaves nothing, there or here', async () => {
    world.answer('task-start', () => Promise.reject(new AgentError('denied', 'not for you')));
    await expect(home.start(native(), request)).rejects.toThrow('not for you');
    expect(listed()).toEqual([]);
    expect(world.tellings('task-quit')).toMatchObject([{ to: 2, message: { task: '1.1' } }]);
  });

  it.each([
    ['no command', { argv: [] }],
    ['a node that is none', { node: 'there' }],
    ['no keys', { serverKey: 'short' }],
  ])('with %s is a bad request', async (_what, fields) => {
    await expect(home.start(native(), { ...request, ...fields })).rejects.toThrow();
    expect(listed()).toEqual([]);
  });

  it('never gives a number twice, also when the agent or its files are lost', async () => {
    await running();
    home = freshHome();
    expect(await home.start(native(), request)).toMatchObject({ task: '1.2' });
  });
});

describe('the end of a task', () => {
  it('is told to who waits, as a shell would', async () => {
    const task = await running();
    const waiting = home.questions.wait(task, OWNER, 10_000);
    home.ended(native(), { task, status: 7 << 8, cpuSeconds: 2 });
    expect(await waiting).toMatchObject({ status: 7, state: 'ended', cpuSeconds: 2 });
    expect(await home.questions.wait(task, OWNER, 1)).toMatchObject({ status: 7 });
    expect(listed()).toMatchObject([{ task, state: 'ended', status: 7 }]);
  });

  it('is believed of its own deputy only', async () => {
    const task = await running();
    home.ended(native({ uid: 1001 }), { task, status: 0, cpuSeconds: 0 });
    expect(listed()).toMatchObject([{ task, state: 'running' }]);
  });

  it('is remembered by an agent that was not there when the task ran', async () => {
    const task = await running();
    home = freshHome();
    const facts = { epoch: 1, state: 'running', command: 'sleep 9', stay: false, tty: false, detach: true };
    home.ended(native(), { ...facts, task, host: 2, moves: 3, startedMs: 5, status: 9, cpuSeconds: 1 });
    expect(freshHome().questions.list(OWNER, true)).toMatchObject([{ task, status: 137, moves: 3 }]);
  });

  it('is forgotten after a day', async () => {
    const task = await running();
    home.ended(native(), { task, status: 0, cpuSeconds: 2 });
    world.clock.nowMs += 25 * 3_600_000;
    home.tick();
    expect(listed()).toEqual([]);
    expect(freshHome().questions.list(OWNER, true)).toEqual([]);
  });
});

describe('a task is lost', () => {
  it('with the shepherd that had it: its deputy is told why, and its user', async () => {
    const task = await running();
    home.hostGone(2, { task, epoch: 1, held: true, reason: 'its shepherd on node 2 was killed' });
    expect(listed()).toMatchObject([{ task, state: 'lost', status: 125 }]);
    expect(world.tellings('lost')).toMatchObject([
      { to: 'deputy', message: { reason: 'its shepherd on node 2 was killed' } },
    ]);
    expect(() => home.questions.find(task, OWNER)).toThrow('its shepherd on node 2 was killed');
  });

  it('but not with one that it has left', async () => {
    const task = await running();
    home.heard(native(), { t: 'claimed', task, epoch: 2, host: 3 });
    home.hostGone(2, { task, epoch: 1, held: true, reason: 'late' });
    expect(listed()).toMatchObject([{ task, state: 'running', host: 3, epoch: 2 }]);
  });

  it('nor with one that was to receive it', async () => {
    const task = await running();
    home.hostGone(3, { task, epoch: 2, held: false, reason: 'it died' });
    expect(listed()).toMatchObject([{ task, state: 'running', host: 2 }]);
  });

  it('unless that one had claimed it, whatever it could still tell', async () => {
    const task = await running();
    home.heard(native(), { t: 'claimed', task, epoch: 2, host: 3 });
    home.hostGone(3, { task, epoch: 2, held: false, reason: 'it died' });
    expect(listed()).toMatchObject([{ task, state: 'lost' }]);
  });

  it('nor with a target after which the source took the next epoch for itself', async () => {
    const task = await running();
    home.heard(native(), { t: 'claimed', task, epoch: 2, host: 2 });
    home.hostGone(3, { task, epoch: 2, held: false, reason: 'it died' });
    expect(listed()).toMatchObject([{ task, state: 'running', host: 2, epoch: 2 }]);
  });

  it('when its node is dead and its deputy hears nothing', async () => {
    const task = await running();
    dead.add(2);
    home.tick();
    expect(listed()).toMatchObject([{ task, state: 'running' }]);
    announce(task, { silentMs: 6_000 });
    home.tick();
    expect(listed()).toMatchObject([{ task, state: 'lost' }]);
  });

  it('when its node, having said nothing for long, says that it has it no more', async () => {
    const task = await running();
    let there = true;
    world.answer('task-there', () => ({ there }));
    world.clock.nowMs += 11_000;
    home.tick();
    await settled();
    expect(listed()).toMatchObject([{ task, state: 'running' }]);
    there = false;
    world.clock.nowMs += 11_000;
    home.tick();
    await settled();
    expect(listed()).toMatchObject([{ task, state: 'lost' }]);
  });

  it('when its runon is gone; a stopped one is not', async () => {
    const task = await running();
    announce(task, { asleep: true });
    expect(world.silent.get('deputy')).toBe(true);
    home.gone(native());
    report(task, 2);
    home.tick();
    expect(listed()).toMatchObject([{ task, state: 'running' }]);
    const deputy = native();
    announce(task, {}, deputy);
    home.gone(deputy);
    world.clock.nowMs += 21_000;
    report(task, 2);
    home.tick();
    expect(listed()).toMatchObject([{ task, state: 'lost' }]);
  });
});

describe('who may', () => {
  it('its user, root and who runs the node; nobody else', async () => {
    const task = await running();
    expect(home.questions.find(task, OWNER).task).toBe(task);
    expect(home.questions.find(task, 0).task).toBe(task);
    expect(() => home.questions.find(task, 1001)).toThrow('belongs to user1000');
    expect(home.questions.list(1001, true)).toEqual([]);
    await expect(home.questions.kill(task, 1001, 9)).rejects.toMatchObject({ code: 'denied' });
    await expect(home.questions.wait(task, 1001, 1)).rejects.toMatchObject({ code: 'denied' });
  });

  it('announce a task of another user: no', async () => {
    const task = await running();
    announce(task, { epoch: 7, host: 3 }, native({ key: 'thief', uid: 1001 }));
    expect(listed()).toMatchObject([{ task, epoch: 1, host: 2 }]);
  });
});

describe('after a restart of the agent', () => {
  it('the tasks come back with their deputies and hosts', async () => {
    const task = await running();
    home = freshHome();
    expect(listed()).toEqual([]);
    const back = home.questions.comeBack(task);
    announce(task, { epoch: 3, host: 3, moves: 2 });
    await back;
    report(task, 3, { epoch: 3, wantsPolicy: true });
    expect(listed()).toMatchObject([{ task, host: 3, epoch: 3, moves: 2, pid: 2, command: 'sleep 9' }]);
    expect(world.tellings('task-policy')).toMatchObject([{ to: 3, message: { task } }]);
  });

  it('a deputy that died meanwhile is started again, and one of a restarted node is lost', async () => {
    const starting = home.start(native({ key: 'runon' }), { ...request, detach: true });
    await untilStarted(1);
    await home.begin(native({ task: '1.1' }), { ...DOOR });
    announce('1.1', { detach: true });
    expect(await starting).toMatchObject({ task: '1.1', host: 2 });
    writeFileSync(join(folder, 'tasks/1.1/epoch'), '1');

    home = freshHome();
    const ending = { role: 'deputy', task: '1.1', token: '', inOrder: false } as const;
    home.deputyEnded({ ...ending, how: 'killed by signal 9' });
    await untilStarted(2);
    expect(world.started[1]).toMatchObject({ role: 'deputy', task: '1.1', uid: OWNER });

    home = freshHome();
    home.launcherIsReady([]);
    expect(listed()).toMatchObject([{ task: '1.1', state: 'lost' }]);
  });

  it('a host is told to end what ended meanwhile, and nothing that is only unknown', async () => {
    const task = await running();
    home.ended(native(), { task, status: 0, cpuSeconds: 0 });
    home = freshHome();
    report(task, 2);
    report('1.77', 2);
    expect(world.tellings('task-quit')).toMatchObject([{ to: 2, message: { task, epoch: 1 } }]);
  });
});

/** Lets all that waits for nothing but answers go on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function untilStarted(count: number): Promise<void> {
  while (world.started.length < count) await settled();
}

describe('a runon that says nothing', () => {
  const endpoint = 'tcp://127.0.0.1:4001';

  async function silentFor(ms: number): Promise<void> {
    world.clock.nowMs += ms;
    home.tick();
    await Promise.resolve();
    await Promise.resolve();
  }

  it('is gone when its door is closed, and its task with it', async () => {
    const task = await running();
    announce(task, { endpoint });
    closed.add(endpoint);
    await silentFor(2_000);
    expect(listed()).toMatchObject([{ state: 'running' }]);
    await silentFor(1_500);
    expect(listed()).toMatchObject([{ state: 'lost', reason: 'the runon that it belonged to is gone' }]);
    expect(world.told).toContainEqual({ to: 2, message: { t: 'task-quit', task, epoch: 1 } });
  });

  it('is stopped, or slow, when its door is open', async () => {
    const task = await running();
    announce(task, { endpoint });
    await silentFor(4_000);
    expect(listed()).toMatchObject([{ state: 'running' }]);
  });

  it('takes its task with it from the middle of a move', async () => {
    const task = await running();
    announce(task, { endpoint });
    const giveUp = new AbortController();
    home.questions.find(task, OWNER).move = { to: 3, giveUp };
    closed.add(endpoint);
    await silentFor(3_500);
    expect(giveUp.signal.aborted).toBe(true);
    for (const [to, epoch] of [
      [2, 1],
      [3, 2],
    ])
      expect(world.told).toContainEqual({ to, message: { t: 'task-quit', task, epoch } });
  });
});
