import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import { HostTasks } from '../../../runtime/tasks/host.js';
import type { Fields, Launch, Native } from '../../../runtime/tasks/ports.js';
import { Tokens } from '../../../runtime/tasks/tokens.js';
import { DOOR, native, World } from './world.js';

const policy = { stay: false, terminal: false, moves: 0, pinnedForMs: 0, allowed: null };
const assignment = { task: '1.1', home: 1, epoch: 1, uid: 1000, gid: 1000, name: '', deputy: DOOR, policy };

let folder: string;
let world: World;
let tokens: Tokens;
let host: HostTasks;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-host-'));
  world = new World(2);
  host = freshHost();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function freshHost(ownUid = 0): HostTasks {
  tokens = new Tokens(join(folder, 'natives.json'), (problem) => world.problems.push(problem));
  const launch: Launch = {
    start: (role, what) => {
      tokens.give(what.token, world.started.length + 1);
      return world.launch.start(role, what);
    },
  };
  const { nodes, natives, clock, log, event } = world;
  return new HostTasks({ nodes, natives, launch, clock, log, event, tokens, address: '127.0.0.2', ownUid });
}

/** The shepherd that was started last, once it has said hello. */
function shepherd(): Native {
  const { task, token } = world.started.at(-1) ?? { task: null, token: null };
  const one = native({ key: `shepherd of ${token ?? ''}`, task, token });
  host.hello(one);
  return one;
}

function announce(from: Native, fields: Fields = {}): void {
  const report = { task: '1.1', epoch: 1, state: 'running', pid: 2, cpuSeconds: 1, residentBytes: 4096 };
  host.heard(from, { t: 'announce', ...report, runnable: 1, command: 'sleep', ...fields });
}

function died(from: Native, how = 'killed by signal 9', inOrder = false): void {
  host.ended({ role: 'shepherd', task: from.task ?? '', token: from.token ?? '', how, inOrder });
}

describe('a task that starts here', () => {
  it('gets a shepherd of its user, which gets its assignment', async () => {
    await host.start(assignment);
    expect(world.started).toMatchObject([{ role: 'shepherd', uid: 1000, task: '1.1' }]);
    const one = shepherd();
    expect(host.helloExtra(one)).toMatchObject({
      assignment: { mode: 'start', task: '1.1', epoch: 1, uid: 1000, deputy: DOOR, hostNumber: 2 },
    });
    announce(one);
    expect(host.list()).toMatchObject([{ task: '1.1', state: 'running', residentBytes: 4096 }]);
    expect(world.tellings('task-report')).toMatchObject([
      { to: 1, message: { task: '1.1', epoch: 1, pid: 2, wantsPolicy: false } },
    ]);
  });

  it("of root's runs as nobody", async () => {
    await host.start({ ...assignment, uid: 0, gid: 0 });
    expect(world.started).toMatchObject([{ uid: 65_534, gid: 65_534 }]);
  });

  it('of another user is refused where the node is one user’s', async () => {
    host = freshHost(1001);
    await expect(host.start(assignment)).rejects.toMatchObject({ code: 'denied' });
    expect(world.started).toEqual([]);
  });

  it('is nothing when skeind can not start it', async () => {
    world.answer('launch', () => Promise.reject(new AgentError('failed', 'no memory')));
    await expect(host.start(assignment)).rejects.toThrow("node 2 can't start a shepherd: no memory");
    expect(host.isThere('1.1')).toBe(false);
    expect(tokens.all()).toEqual([]);
  });

  it('must be of the node that asks for it', async () => {
    await expect(host.start({ ...assignment, home: 3 })).rejects.toMatchObject({ code: 'bad-request' });
  });
});

describe('the death of a shepherd', () => {
  it('is told to the home of the task that it had', async () => {
    await host.start(assignment);
    died(shepherd());
    expect(world.tellings('task-gone')).toMatchObject([
      { to: 1, message: { task: '1.1', held: true, reason: 'its shepherd on node 2 killed by signal 9' } },
    ]);
    expect(host.isThere('1.1')).toBe(false);
  });

  it('is no news after the end of its task', async () => {
    await host.start(assignment);
    const one = shepherd();
    host.heard(one, { t: 'task-ended', task: '1.1', epoch: 1, status: 0, cpuSeconds: 1 });
    died(one, 'ended with status 0', true);
    expect(world.tellings('task-gone')).toEqual([]);
  });

  it('ends what waits for it', async () => {
    const receiving = host.receive({ ...assignment, epoch: 2 });
    await untilStarted();
    died(shepherd());
    await expect(receiving).rejects.toThrow('killed by signal 9');
    expect(world.tellings('task-gone')).toMatchObject([{ message: { epoch: 2, held: false } }]);
  });

  it('is found out when it happened with the whole node', async () => {
    await host.start(assignment);
    host = freshHost();
    expect(host.isThere('1.1')).toBe(true);
    host.launcherIsReady([]);
    expect(host.isThere('1.1')).toBe(false);
  });
});

describe('a task that arrives', () => {
  it('is told where to go as soon as its shepherd has opened a door', async () => {
    const receiving = host.receive({ ...assignment, epoch: 2 });
    await untilStarted();
    const one = shepherd();
    expect(host.helloExtra(one)).toMatchObject({ assignment: { mode: 'receive', epoch: 2 } });
    host.heard(one, { ...DOOR, t: 'receiving' });
    expect(await receiving).toEqual(DOOR);
  });

  it('may be dropped until it is here, and not from then on', async () => {
    const receiving = host.receive({ ...assignment, epoch: 2 });
    await untilStarted();
    const one = shepherd();
    host.heard(one, { ...DOOR, t: 'receiving' });
    await receiving;
    announce(one, { epoch: 0, state: 'starting' });
    host.drop('1.1', 2);
    expect(world.tellings('quit')).toHaveLength(1);
    host.heard(one, { t: 'resumed', task: '1.1', epoch: 2 });
    host.drop('1.1', 2);
    expect(world.tellings('quit')).toHaveLength(1);
    host.quit('1.1', 1);
    expect(world.tellings('quit')).toHaveLength(1);
    host.quit('1.1', 2);
    expect(world.tellings('quit')).toHaveLength(2);
  });
});

describe('a task that leaves', () => {
  it('is sent once at a time, and is not lost with the shepherd that has sent it', async () => {
    await host.start(assignment);
    const one = shepherd();
    announce(one);
    let finish: (fields: Fields) => void = () => undefined;
    world.answer('send', () => new Promise((resolve) => (finish = resolve)));
    const sending = host.send({ ...DOOR, task: '1.1', epoch: 2 });
    await settled();
    expect(host.list()).toMatchObject([{ task: '1.1', state: 'migrating' }]);
    await expect(host.send({ ...DOOR, task: '1.1', epoch: 2 })).rejects.toMatchObject({ code: 'busy' });
    finish({ rounds: 2 });
    expect(await sending).toEqual({ rounds: 2 });
    expect(host.list()).toEqual([]);
    died(one, 'ended with status 0', true);
    expect(world.tellings('task-gone')).toEqual([]);
  });
});

describe('after a restart of the agent', () => {
  it('a shepherd that has yet to come back is waited for', async () => {
    await host.start(assignment);
    host = freshHost();
    world.answer('why', () => ({ movable: true, reasons: [] }));
    const why = host.why('1.1');
    const one = shepherd();
    expect(await why).toEqual({ movable: true, reasons: [] });
    announce(one);
    expect(world.tellings('task-report')).toMatchObject([{ message: { wantsPolicy: true } }]);
    host.setPolicy('1.1', { ...policy, stay: true });
    expect(host.list()).toMatchObject([{ task: '1.1', policy: { stay: true } }]);
  });

  it('what never was here is not', async () => {
    await expect(host.why('1.9')).rejects.toMatchObject({ code: 'not-running' });
  });
});

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function untilStarted(): Promise<void> {
  while (world.started.length === 0) await settled();
}
