/*
 * skein migrate: a program that runs goes from node to node, and neither it nor who reads its output can tell.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, root } from './support/cluster.js';
import type { Command } from './support/command.js';
import { until } from './support/until.js';

const PYTHON = '/usr/bin/python3';
const TOUR = [3, 1, 2, 3, 2];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.up();
});

afterAll(async () => {
  expect(await cluster.tasks()).toEqual([]);
  await cluster.down();
});

afterEach(() => cluster.expectRest());

/** Starts a Python program on node 2 under a name; the balancer leaves it alone. */
function python(name: string, script: string, typed = false): Command {
  return cluster.start(['runon', '--stay', '--name', name, '2', PYTHON, '-u', '-c', script], { typed });
}

/** Moves a task from node to node, and looks at what is said of it. */
async function tour(task: string, nodes: readonly number[] = TOUR): Promise<void> {
  const before = await until(
    'its host has told of it',
    () => cluster.task(task),
    ({ pid }) => pid > 0,
  );
  let from = before.host;
  for (const to of nodes) {
    const result = await cluster.migrate(task, to);
    expect(result).toMatchObject({ task, from, to });
    expect(result.rounds).toBeGreaterThanOrEqual(1);
    expect(result.bytesTotal).toBeGreaterThan(0);
    expect(result.downtimeMs).toBeLessThanOrEqual(result.totalMs);
    from = to;
  }
  expect(await cluster.task(task)).toMatchObject({
    state: 'running',
    host: from,
    home: 1,
    pid: before.pid,
    moves: before.moves + nodes.length,
    epoch: before.epoch + nodes.length,
  });
}

/** The program says `ready`, is moved about, and then gets a line to go on. */
async function moved(name: string, task: Command): Promise<void> {
  await task.waitFor('ready', (text) => text.startsWith('ready\n'));
  await tour((await cluster.taskNamed(name)).task);
  task.write('go\n');
}

const numbers = (last: number): string =>
  Array.from({ length: last }, (_, index) => `${index + 1}\n`).join('');

describe('where it is', () => {
  it('a detached program goes about, home included', async () => {
    const script = `import os, time
count = 0
while not os.path.exists("enough"):
    count += 1
    print(count, flush=True)
    time.sleep(0.02)`;
    const task = await cluster.detach(2, [PYTHON, '-c', script]);
    await tour(task);
    expect(await cluster.why(task)).toMatchObject({ movable: true, reasons: [] });
    writeFileSync(join(cluster.folder, 'enough'), '');
    expect(await cluster.wait(task)).toBe(0);
    const output = await cluster.logs(task);
    const last = output.trimEnd().split('\n').length;
    expect(last).toBeGreaterThan(20);
    expect(output).toBe(numbers(last));
  });

  it('to where it is already: nothing happens', async () => {
    const task = await cluster.detach(2, ['sleep', '1000']);
    expect(await cluster.migrate(task, 2)).toMatchObject({ from: 2, to: 2, bytesTotal: 0 });
    expect(await cluster.task(task)).toMatchObject({ host: 2, moves: 0, epoch: 1 });
    expect(await cluster.migrate(task, 'home')).toMatchObject({ from: 2, to: 1 });
    await cluster.good(['skein', 'kill', '-s', 'KILL', task]);
    expect(await cluster.wait(task)).toBe(137);
  });
});

describe('streams', () => {
  it('lose nothing and have nothing twice', async () => {
    const script = `import os, time
count = 0
while not os.path.exists("counted-enough"):
    for _ in range(100):
        count += 1
        print(count)
    time.sleep(0.02)`;
    const task = python('counting', script);
    await task.waitFor('a number', (text) => text.includes('\n'));
    await tour((await cluster.taskNamed('counting')).task);
    writeFileSync(join(cluster.folder, 'counted-enough'), '');
    const { status, stdout, stderr } = await task.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const last = stdout.trimEnd().split('\n').length;
    expect(last).toBeGreaterThan(1000);
    expect(stdout === numbers(last)).toBe(true);
  });

  it('wait with a reader that does not read', async () => {
    const script = `runon --stay --name slow 2 ${PYTHON} -u -c '
for i in range(1, 1000001, 1000): print(*range(i, i + 1000), sep="\\n")' | { while ! [ -e read-now ]; do sleep 0.1; done; cat; }`;
    const task = cluster.start(['bash', '-c', script]);
    await tour((await cluster.taskNamed('slow')).task, [3, 1, 2]);
    writeFileSync(join(cluster.folder, 'read-now'), '');
    expect((await task.ended).stdout === numbers(1_000_000)).toBe(true);
  });

  it('bring what is typed before, during and after', async () => {
    const task = cluster.start(['runon', '--stay', '--name', 'cat', '2', 'cat'], { typed: true });
    let sent = '';
    const write = (text: string): void => {
      sent += text;
      task.write(text);
    };
    write('before\n');
    const { task: id } = await cluster.taskNamed('cat');
    for (const node of TOUR) {
      const moving = cluster.migrate(id, node);
      for (let i = 0; i < 50; i++) write(`${'x'.repeat(i * 40)} ${node} ${i}\n`);
      expect(await moving).toMatchObject({ to: node });
    }
    write('after');
    task.endInput();
    expect(await task.ended).toMatchObject({ status: 0, stdout: sent });
  });

  it('stay ended, once they have', async () => {
    const script = `import sys, time, os
print("ready")
data = sys.stdin.read()
print("end of input")
sys.stdin = open(0)
while not os.path.exists("read-again"):
    time.sleep(0.05)
print(repr(data), repr(sys.stdin.read()))`;
    const task = python('ended', script, true);
    await task.waitFor('ready', (text) => text === 'ready\n');
    task.write('all of it');
    const { task: id } = await cluster.taskNamed('ended');
    expect(await cluster.migrate(id, 3)).toMatchObject({ to: 3 });
    task.endInput();
    await task.waitFor('the end', (text) => text.includes('end of input'));
    expect(await cluster.migrate(id, 2)).toMatchObject({ to: 2 });
    writeFileSync(join(cluster.folder, 'read-again'), '');
    expect(await task.ended).toMatchObject({
      status: 0,
      stdout: "ready\nend of input\n'all of it' ''\n",
    });
  });
});

describe('what goes with it', () => {
  it.each(['plain', 'threads', 'signals'])('state of the engine’s own test program %s', async (name) => {
    const source = join(root, `test/native/engine/programs/${name}.c`);
    const program = join(cluster.folder, name);
    execFileSync('cc', ['-std=c17', '-D_GNU_SOURCE', '-O1', '-pthread', '-o', program, source]);
    const task = cluster.start(['runon', '--stay', '--name', name, '2', program, 'last'], { typed: true });
    await moved(name, task);
    const { status, stdout, stderr } = await task.ended;
    expect(status, stdout + stderr).toBe(0);
  });

  it('open files, with their positions', async () => {
    writeFileSync(join(cluster.folder, 'lines'), numbers(1000));
    const script = `import os, sys
reader = open("lines", "rb", buffering=0)
assert reader.read(2893) == b"".join(b"%d\\n" % i for i in range(1, 1001))[:2893]
shared = os.dup(reader.fileno())
appender = os.open("appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(appender, b"before\\n")
writer = open("written", "w+b")
writer.write(b"unflushed ")
folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
os.mkdir("elsewhere")
os.chdir("elsewhere")
print("ready")
sys.stdin.readline()
assert reader.read(5) == b"".join(b"%d\\n" % i for i in range(1, 1001))[2893:2898]
assert os.lseek(shared, 0, os.SEEK_CUR) == 2898
os.write(appender, b"after\\n")
writer.write(b"and the rest")
writer.close()
assert os.path.basename(os.getcwd()) == "elsewhere"
assert "lines" in os.listdir(folder)
print("well")`;
    const task = python('files', script, true);
    await moved('files', task);
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'ready\nwell\n', stderr: '' });
    expect(readFileSync(join(cluster.folder, 'appended'), 'utf8')).toBe('before\nafter\n');
    expect(readFileSync(join(cluster.folder, 'written'), 'utf8')).toBe('unflushed and the rest');
  });

  it('mask, limits, nice value, environment, identity', async () => {
    const script = `import os, resource, signal, sys
os.umask(0o137)
os.nice(3)
resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGUSR1, lambda *_: print("usr1"))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
os.kill(os.getpid(), signal.SIGUSR1)
def state():
    return (os.umask(0o137), os.nice(0), [resource.getrlimit(i) for i in range(16)], dict(os.environ), os.getpid(),
            os.getppid(), os.getpgid(0), os.getsid(0), os.getuid(), os.getgid(), os.uname()[1], os.getcwd(),
            signal.getsignal(signal.SIGHUP), signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, []))
before = state()
print("ready")
sys.stdin.readline()
after = state()
for a, b in zip(before, after):
    assert a == b, (a, b)
assert signal.sigpending() == {signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print("well")`;
    const task = python('state', script, true);
    await moved('state', task);
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'ready\nusr1\nwell\n', stderr: '' });
  });

  it('pipes of its own, with what is in them', async () => {
    const script = `import os, sys, threading
r, w = os.pipe()
os.write(w, b"x" * 50000)
empty, other = os.pipe()
got = []
reader = threading.Thread(target=lambda: got.append(os.read(empty, 10)))
reader.start()
print("ready")
sys.stdin.readline()
os.write(w, b"y")
os.close(w)
data = b""
while piece := os.read(r, 7777):
    data += piece
assert data == b"x" * 50000 + b"y"
os.write(other, b"hello")
reader.join()
print(got)`;
    const task = python('pipes', script, true);
    await moved('pipes', task);
    expect(await task.ended).toMatchObject({ status: 0, stdout: "ready\n[b'hello']\n", stderr: '' });
  });

  it('waits, for the rest of their time', async () => {
    // How late it may be on a busy machine is not what is tested here.
    const script = `import select, signal, threading, time
WAIT = 8
wrong = []
def timed(name, wait):
    began = time.monotonic()
    wait()
    took = time.monotonic() - began
    if not WAIT - 0.01 <= took <= WAIT + 20:
        wrong.append((name, took))
condition = threading.Condition()
def wait_condition():
    with condition:
        condition.wait(WAIT)
kinds = {
    "sleep": lambda: time.sleep(WAIT),
    "poll": lambda: select.poll().poll(WAIT * 1000),
    "select": lambda: select.select([], [], [], WAIT),
    "condition": wait_condition,
}
threads = [threading.Thread(target=timed, args=kind) for kind in kinds.items()]
for thread in threads:
    thread.start()
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, WAIT)
print("ready")
timed("alarm", lambda: signal.sigwait([signal.SIGALRM]))
for thread in threads:
    thread.join()
print(wrong)`;
    const masked = `import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n${script}`;
    const task = python('waits', masked);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id } = await cluster.taskNamed('waits');
    for (const node of [3, 1, 2]) expect(await cluster.migrate(id, node)).toMatchObject({ to: node });
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'ready\n[]\n', stderr: '' });
  });

  it('signals that come on the way', async () => {
    const script = `import os, signal, time
got = 0
def on(*_):
    global got
    got += 1
signal.signal(signal.SIGUSR1, on)
print("ready")
while not os.path.exists("no-more"):
    time.sleep(0.05)
print(got)`;
    const task = python('signalled', script);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id } = await cluster.taskNamed('signalled');
    const moving = tour(id);
    for (let i = 0; i < 5; i++) await cluster.good(['skein', 'kill', '-s', 'USR1', id]);
    await moving;
    writeFileSync(join(cluster.folder, 'no-more'), '');
    const { status, stdout } = await task.ended;
    expect(status).toBe(0);
    // Those that came while one was pending are one.
    expect(Number(stdout.split('\n')[1])).toBeGreaterThanOrEqual(1);
    expect(Number(stdout.split('\n')[1])).toBeLessThanOrEqual(5);
  });

  it('being stopped', async () => {
    const task = python('stopped', 'import sys\nprint("ready")\nprint(sys.stdin.readline())', true);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id } = await cluster.taskNamed('stopped');
    await cluster.good(['skein', 'kill', '-s', 'STOP', id]);
    await until(
      'it is stopped',
      () => cluster.task(id),
      ({ state }) => state === 'stopped',
    );
    await cluster.good(['skein', 'kill', '-s', 'CONT', id]);
    await until(
      'it runs',
      () => cluster.task(id),
      ({ state }) => state === 'running',
    );
    expect(await cluster.migrate(id, 3)).toMatchObject({ to: 3 });
    task.write('on\n');
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'ready\non\n\n' });
  });

  it('its exit status and what ends it', async () => {
    const task = cluster.start(['runon', '--stay', '--name', 'killed', '2', 'sleep', '1000']);
    const { task: id } = await cluster.taskNamed('killed');
    expect(await cluster.migrate(id, 3)).toMatchObject({ to: 3 });
    task.kill('SIGTERM');
    expect(await task.ended).toMatchObject({ status: 143, stderr: '' });
  });
});

describe('what cannot be moved stays, unharmed', () => {
  it.each([
    ['a child', 'children', 'import os\nif os.fork() == 0:\n    os.read(0, 1)\n    os._exit(0)'],
    ['a socket', 'socket', 'import socket\ns = socket.socket()\ns.bind(("127.0.0.1", 0))\ns.listen()'],
    ['a file lock', 'lock', 'import fcntl\nf = open("lock", "w")\nfcntl.flock(f, fcntl.LOCK_EX)'],
    ['shared memory', 'memory', 'import mmap\nm = mmap.mmap(-1, 10000)'],
  ])('%s', async (name, kind, setup) => {
    const title = name.replaceAll(' ', '-');
    const task = python(title, `${setup}\nimport sys\nprint("ready")\nprint(sys.stdin.readline())`, true);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id, pid } = await cluster.taskNamed(title);
    const { movable, reasons } = await cluster.why(id);
    expect(movable).toBe(false);
    expect(reasons.map((reason) => reason.kind)).toContain(kind);
    expect(reasons[0]?.pid).toBe(pid);
    const refused = await cluster.run(['skein', 'migrate', id, '3']);
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^skein migrate: .*\n$/);
    expect(await cluster.task(id)).toMatchObject({ state: 'running', host: 2, moves: 0, epoch: 1 });
    // For the child, if there is one, and for it.
    task.write('on\non\n');
    task.endInput();
    expect((await task.ended).status).toBe(0);
  });
});

describe('what goes wrong', () => {
  it('two at once: one is told that it is busy', async () => {
    const script = `import sys
data = bytearray(range(256)) * (1 << 20)
print("ready")
sys.stdin.readline()
print(sum(data[::4096]), len(data))`;
    const task = python('big', script, true);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id } = await cluster.taskNamed('big');
    const both = await Promise.all([
      cluster.run(['skein', 'migrate', id, '3']),
      cluster.run(['skein', 'migrate', id, '1']),
    ]);
    const statuses = both.map(({ status }) => status).sort();
    expect(statuses, both.map(({ stderr }) => stderr).join('')).toEqual([0, 1]);
    const refused = both.find(({ status }) => status === 1);
    expect(refused?.stderr).toMatch(/^skein migrate: .*\n$/);
    const went = both[0].status === 0 ? 3 : 1;
    expect(await cluster.task(id)).toMatchObject({ host: went, moves: 1, epoch: 2 });
    task.write('\n');
    expect(await task.ended).toMatchObject({ status: 0, stdout: `ready\n0 ${256 << 20}\n` });
  });

  it('a task that ends on the way ends well', async () => {
    for (const milliseconds of [0, 30, 60, 90, 120, 200]) {
      const script = `import sys, time
data = bytearray(64 << 20)
print("ready")
sys.stdin.readline()
time.sleep(${milliseconds / 1000})
print("over")
sys.exit(3)`;
      const name = `ends-${milliseconds}`;
      const task = python(name, script, true);
      await task.waitFor('ready', (text) => text === 'ready\n');
      const { task: id } = await cluster.taskNamed(name);
      const moving = cluster.run(['skein', 'migrate', id, '3']);
      task.write('\n');
      const { status, stderr } = await moving;
      expect([0, 1]).toContain(status);
      if (status === 1) expect(stderr).toMatch(/^skein migrate: .*\n$/);
      expect(await task.ended).toMatchObject({ status: 3, stdout: 'ready\nover\n', stderr: '' });
    }
  });

  it('no such task, no such node', async () => {
    const none = await cluster.run(['skein', 'migrate', '1.9999', '3']);
    expect(none.status).toBe(1);
    expect(none.stderr).toMatch(/^skein migrate: .*\n$/);
    const task = await cluster.detach(2, ['sleep', '1000']);
    const nowhere = await cluster.run(['skein', 'migrate', task, '9']);
    expect(nowhere.status).toBe(1);
    expect(nowhere.stderr).toMatch(/^skein migrate: .*\n$/);
    await cluster.good(['skein', 'kill', '-s', 'KILL', task]);
    expect(await cluster.wait(task)).toBe(137);
  });

  // The last one: it ends a node.
  it('a dead node: the task stays where it is', async () => {
    const task = python('survivor', 'import sys\nprint("ready")\nprint(sys.stdin.readline())', true);
    await task.waitFor('ready', (text) => text === 'ready\n');
    const { task: id } = await cluster.taskNamed('survivor');
    const [pid] = readFileSync(join(cluster.nodeFolder(3), 'skeind.pid'), 'utf8').split(' ');
    process.kill(Number(pid), 'SIGKILL');
    await until(
      'node 3 is dead',
      () => cluster.nodes(),
      (nodes) => nodes.some(({ node, state }) => node === 3 && state === 'dead'),
      40_000,
    );
    const refused = await cluster.run(['skein', 'migrate', id, '3']);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/^skein migrate: node 3 is dead.*\n$/);
    expect(await cluster.task(id)).toMatchObject({ state: 'running', host: 2, moves: 0 });
    expect(await cluster.migrate(id, 1)).toMatchObject({ to: 1 });
    task.write('on\n');
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'ready\non\n\n' });
  });
});
