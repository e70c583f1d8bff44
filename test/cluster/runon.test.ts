/*
 * runon: a program on another node is, for who typed it, as it is here.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from './support/cluster.js';
import { until } from './support/until.js';

const PYTHON = '/usr/bin/python3';
/** A runon that is silent is given this long, and then some. */
const RUNON_GONE_LIMIT_MS = 60_000;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.up();
});

afterAll(async () => {
  expect(await cluster.tasks()).toEqual([]);
  await cluster.down();
});

afterEach(() => cluster.expectRest());

/** Exactly one line, with something to read in it. */
const ONE_LINE = /^runon: .{10,}\n$/;

describe('where it runs and what it sees', () => {
  it('runs there, and sees the host name of home', async () => {
    const [mine, theirs] = await Promise.all([
      cluster.good(['uname', '-n'], { environment: { SKEIN_NODE: '2' } }),
      cluster.good(['runon', '2', 'uname', '-n']),
    ]);
    expect(mine).toBe(`${hostname()}\n`);
    expect(theirs).toBe(`${hostname()}-1\n`);
    const task = cluster.start(['runon', '--name', 'where', '2', 'cat'], { typed: true });
    const { host, home, moves, epoch, pid, command } = await cluster.taskNamed('where');
    expect({ host, home, moves, epoch, command }).toEqual({
      host: 2,
      home: 1,
      moves: 0,
      epoch: 1,
      command: 'cat',
    });
    expect(pid).toBeGreaterThan(1);
    task.endInput();
    expect((await task.ended).status).toBe(0);
  });

  it('sees the files of the node it was typed on', async () => {
    writeFileSync(join(cluster.nodeFolder(2), 'srv/only-on-2'), 'yes\n');
    const on2 = { environment: { SKEIN_NODE: '2' }, cwd: '/' };
    expect(await cluster.good(['runon', '1', 'ls', '/srv'], on2)).toBe('only-on-2\n');
    expect(await cluster.good(['runon', '3', 'cat', '/srv/only-on-2'], on2)).toBe('yes\n');
    expect(await cluster.good(['runon', '2', 'ls', '/srv'])).toBe('');
    await cluster.good(['runon', '3', 'sh', '-c', 'echo more >> /srv/only-on-2'], on2);
    expect(readFileSync(join(cluster.nodeFolder(2), 'srv/only-on-2'), 'utf8')).toBe('yes\nmore\n');
  });

  it('lists a tree as it is listed here', async () => {
    const tree = join(cluster.folder, 'tree');
    await cluster.good(['bash', '-c', 'mkdir tree && cp -r /usr/share/perl5 tree && mkfifo tree/fifo']);
    const words = ['ls', '-aglR', tree];
    expect(await cluster.good(['runon', '2', ...words])).toBe(await cluster.good(words));
    // With a single id, all that is not the user's is shown as the user's.
    const system = ['ls', '-aogR', '/usr/share/doc'];
    const columns = (text: string): string => text.replaceAll(/ +/g, ' ');
    expect(columns(await cluster.good(['runon', '2', ...system]))).toBe(columns(await cluster.good(system)));
  });

  it.each(['home', 'best', '2,3'])('finds a place for %s', async (node) => {
    expect(await cluster.good(['runon', node, 'echo', 'here'])).toBe('here\n');
  });
});

describe('how it begins', () => {
  it('has the arguments, whatever bytes they are of', async () => {
    const script = `runon 2 printf '<%s>' '' $'a\\nb' $'\\x80\\xff' '*' '$x' ' ' "'" '"' --`;
    const { bytes, stderr } = await cluster.shell(script);
    expect(stderr).toBe('');
    expect(bytes.toString('latin1')).toBe(`<><a\nb><\x80\xff><*><$x>< ><'><"><-->`);
  });

  it('has the environment, whatever is in it', async () => {
    const script =
      `export A= B=$'x\\ny\\x80' LONG=$(head -c 120000 /dev/zero | tr '\\0' q); ` +
      `cmp <(env -0 | grep -azv ^_= | sort -z) <(runon 2 env -0 | grep -azv ^_= | sort -z) && echo same`;
    expect(await cluster.shell(script)).toMatchObject({ status: 0, stdout: 'same\n', stderr: '' });
  });

  it('has many and long arguments', async () => {
    const script = `runon 2 sh -c 'echo $# \${#1}' - $(head -c 120000 /dev/zero | tr '\\0' y) $(seq 1 20000)`;
    expect(await cluster.shell(script)).toMatchObject({ status: 0, stdout: '20001 120000\n' });
  });

  it('has working directory, umask, limits and nice value', async () => {
    mkdirSync(join(cluster.folder, 'a folder\nof two lines'), { recursive: true });
    const script =
      `cd "a folder\nof two lines"; ulimit -n 300; ulimit -c 0; ulimit -s 4096; umask 027; ` +
      `nice -n 7 runon 2 sh -c 'pwd; ulimit -n; ulimit -c; ulimit -s; umask; nice; pwd > made; stat -c %a made'`;
    expect((await cluster.shell(script)).stdout).toBe(
      `${cluster.folder}/a folder\nof two lines\n300\n0\n4096\n0027\n7\n640\n`,
    );
  });

  it('is the same user', async () => {
    expect(await cluster.good(['runon', '2', 'id', '-u'])).toBe(await cluster.good(['id', '-u']));
    expect(await cluster.good(['runon', '2', 'sh', '-c', 'echo > mine; stat -c %u:%g mine'])).toBe(
      `${process.getuid?.()}:${process.getgid?.()}\n`,
    );
  });
});

describe('how it ends', () => {
  it.each([
    ['exit 0', 0],
    ['exit 7', 7],
    ['exit 255', 255],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
    ['kill -SEGV $$', 139],
  ])('%s: %i', async (script, status) => {
    expect(await cluster.run(['runon', '3', 'sh', '-c', script])).toMatchObject({ status, stderr: '' });
  });

  it('passes signals on', async () => {
    const script = 'trap "echo term; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
    const task = cluster.start(['runon', '2', 'bash', '-c', script]);
    await task.waitFor('ready', (text) => text.includes('ready'));
    task.kill('SIGTERM');
    expect(await task.ended).toMatchObject({ status: 3, stdout: 'ready\nterm\n' });
  });

  it('leaves nothing of the task when it is killed itself', async () => {
    const task = cluster.start(['runon', '2', 'sh', '-c', 'echo ready; sleep 1000']);
    await task.waitFor('ready', (text) => text.includes('ready'));
    task.kill('SIGKILL');
    expect((await task.ended).signal).toBe('SIGKILL');
    await cluster.expectRest(RUNON_GONE_LIMIT_MS);
  });
});

describe('what goes wrong is said in one line', () => {
  it.each([
    [['9', 'true'], 125],
    [['2', 'no-such-command'], 127],
    [['2', '/no/such/command'], 127],
    [['2', '/etc/passwd'], 126],
    [['2', '/etc'], 126],
  ])('%j', async (words, status) => {
    const ending = await cluster.run(['runon', ...words]);
    expect(ending).toMatchObject({ status, stdout: '' });
    expect(ending.stderr).toMatch(ONE_LINE);
  });

  it.each([[[]], [['2']], [['two', 'true']], [['--what', '2', 'true']], [['--name']]])(
    'wrong usage: %j',
    async (words) => {
      const ending = await cluster.run(['runon', ...words]);
      expect(ending.status).toBe(2);
      expect(ending.stderr).toMatch(/^runon: .*\nusage: runon .*\n$/);
    },
  );

  it('a file that may not be executed', async () => {
    writeFileSync(join(cluster.folder, 'closed'), 'x');
    chmodSync(join(cluster.folder, 'closed'), 0o600);
    const ending = await cluster.run(['runon', '2', './closed']);
    expect(ending.status).toBe(126);
    expect(ending.stderr).toMatch(ONE_LINE);
  });

  it('no cluster', async () => {
    const ending = await cluster.run(['runon', '2', 'true'], {
      environment: { SKEIN_DIR: join(cluster.folder, 'nothing') },
    });
    expect(ending).toMatchObject({ status: 125, stdout: '' });
    expect(ending.stderr).toMatch(/^(runon|skein): .{10,}\n$/);
  });

  it('no such node to type it on', async () => {
    const ending = await cluster.run(['runon', '2', 'true'], { environment: { SKEIN_NODE: '7' } });
    expect(ending).toMatchObject({ status: 125, stdout: '' });
    expect(ending.stderr).toMatch(/^(runon|skein): .{10,}\n$/);
  });
});

describe('standard streams', () => {
  it('reads a pipe, a file, nothing', async () => {
    expect(await cluster.run(['runon', '2', 'cat'], { input: 'hi\n' })).toMatchObject({ stdout: 'hi\n' });
    writeFileSync(join(cluster.folder, 'input'), 'from a file\n');
    expect((await cluster.shell('runon 2 cat < input')).stdout).toBe('from a file\n');
    expect((await cluster.shell('runon 2 wc -c < /dev/null')).stdout).toBe('0\n');
  });

  it('keeps a closed one closed', async () => {
    const input = await cluster.shell('runon 2 cat <&-');
    expect(input.status).toBe(1);
    expect(input.stderr).toContain('Bad file descriptor');
    const output = await cluster.shell('runon 2 echo x >&-');
    expect(output.status).toBe(1);
    expect(output.stderr).toMatch(/^echo: .*\n$/);
  });

  it('writes into files, and both streams into one in order', async () => {
    const script = 'for i in 1 2 3 4 5; do echo out $i; done; echo error >&2; exit 4';
    expect(await cluster.shell(`runon 2 sh -c '${script}' > out 2> err; echo $?; cat out err`)).toMatchObject(
      {
        stdout: '4\nout 1\nout 2\nout 3\nout 4\nout 5\nerror\n',
      },
    );
  });

  it('carries 20 MB through standard input and output', async () => {
    const input = randomBytes(20_000_000);
    const { status, bytes } = await cluster.run(['runon', '2', 'cat'], { input });
    expect(status).toBe(0);
    expect(bytes.equals(input)).toBe(true);
  });

  it('ends a writer that nobody reads', async () => {
    const { status, stdout, stderr } = await cluster.shell('runon 2 yes | head -n 1; echo ${PIPESTATUS[0]}');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^y\n(141|1)\n$/);
  });

  it('ends when the task does, though nobody ended the input', async () => {
    const task = cluster.start(['runon', '2', 'head', '-n', '1'], { typed: true });
    task.write('one\n');
    expect(await task.ended).toMatchObject({ status: 0, stdout: 'one\n' });
  });

  it('works in a pipeline of tasks', async () => {
    const script = 'runon 2 seq 1 100000 | runon 3 sort -n -r | runon 1 head -n 2';
    expect(await cluster.shell(script)).toMatchObject({ status: 0, stdout: '100000\n99999\n' });
  });
});

describe('files of home', () => {
  it('makes, changes, renames, links and removes them', async () => {
    const script = `
      mkdir -p files/a/b/c; cd files
      echo one > f; echo two >> f; mv f a/g; ln -s a/g link; ln a/g a/hard
      chmod 751 a/b; touch -d '2001-02-03 04:05:06.789' a/g; rmdir a/b/c
      truncate -s 5 a/hard; echo x > gone; rm gone; mkfifo fifo; : > "n\nl"; rm "n\nl"
      stat -c '%n %a %h %s %.3Y %F' a/b a/hard link fifo; readlink link; cat link`;
    const expected =
      /^a\/b 751 2 \d+ [\d.]+ directory\na\/hard 644 2 5 [\d.]+ regular file\nlink 777 1 3 [\d.]+ symbolic link\nfifo 644 1 0 [\d.]+ fifo\na\/g\none\nt$/;
    const { stdout, stderr } = await cluster.shell(
      `umask 022; runon 2 bash -c '${script.replaceAll("'", `'\\''`)}'`,
    );
    expect(stderr).toBe('');
    expect(stdout).toMatch(expected);
    expect(readFileSync(join(cluster.folder, 'files/a/g'), 'utf8')).toBe('one\nt');
  });

  it('keeps times', async () => {
    await cluster.good(['runon', '2', 'touch', '-d', '2001-02-03 04:05:06.789 UTC', 'dated']);
    expect(await cluster.good(['stat', '-c', '%.3Y', 'dated'])).toBe('981173106.789\n');
  });

  it('sees at once what changes at home, and home what it changes', async () => {
    const task = cluster.start(
      ['runon', '2', 'bash', '-c', 'while read name; do cat "$name"; echo done > "$name.seen"; echo; done'],
      { typed: true },
    );
    for (const round of ['1', '2', '3']) {
      writeFileSync(join(cluster.folder, 'shared'), `round ${round}`);
      task.write('shared\n');
      await task.waitFor(`round ${round}`, (text) => text.includes(`round ${round}\n`));
      expect(readFileSync(join(cluster.folder, 'shared.seen'), 'utf8')).toBe('done\n');
    }
    task.endInput();
    expect((await task.ended).stdout).toBe('round 1\nround 2\nround 3\n');
  });

  it('packs a tree as it is packed here', async () => {
    const script =
      'tar -C /usr/share/perl5 --sort=name --owner=0 --group=0 -cf here.tar . && ' +
      'runon 2 tar -C /usr/share/perl5 --sort=name --owner=0 --group=0 -cf there.tar . && cmp here.tar there.tar && ' +
      'mkdir unpacked && runon 3 tar -xf there.tar -C unpacked && diff -r unpacked /usr/share/perl5 && echo same';
    expect(await cluster.shell(script)).toMatchObject({ status: 0, stdout: 'same\n', stderr: '' });
  });

  it('holds a database', async () => {
    const make = `import sqlite3
c = sqlite3.connect("numbers.db")
c.execute("create table t (a integer)")
c.executemany("insert into t values (?)", [(i,) for i in range(10000)])
c.commit()`;
    const read = `import sqlite3
print(sqlite3.connect("numbers.db").execute("select sum(a), count(*) from t").fetchone())`;
    await cluster.good(['runon', '2', PYTHON, '-c', make]);
    expect(await cluster.good(['runon', '3', PYTHON, '-c', read])).toBe('(49995000, 10000)\n');
    expect(await cluster.good([PYTHON, '-c', read])).toBe('(49995000, 10000)\n');
  });

  it('maps them, writing through', async () => {
    const script = `import mmap
with open("mapped", "w+b") as f:
    f.truncate(100000)
    m = mmap.mmap(f.fileno(), 0)
    m[50000:50005] = b"hello"
    m.flush()
    m.close()`;
    await cluster.good(['runon', '2', PYTHON, '-c', script]);
    expect(readFileSync(join(cluster.folder, 'mapped')).subarray(49_999, 50_006).toString('latin1')).toBe(
      '\0hello\0',
    );
  });

  it('says as at home what may not be done', async () => {
    const script = 'cat missing; mkdir /proc/x; rmdir /usr; echo x > /etc';
    const here = await cluster.run(['bash', '-c', script]);
    const there = await cluster.run(['runon', '2', 'bash', '-c', script]);
    expect(there.stderr.replaceAll(/line \d+: /g, '')).toBe(here.stderr.replaceAll(/line \d+: /g, ''));
    expect(there.stderr.split('\n')).toHaveLength(5);
  });
});

describe('detached', () => {
  it('prints its id and returns; logs and wait tell the rest', async () => {
    const id = await cluster.detach(2, ['sh', '-c', 'echo out; echo err >&2; cat; exit 5']);
    expect(await cluster.wait(id)).toBe(5);
    expect(await cluster.run(['skein', 'logs', id])).toMatchObject({
      status: 0,
      stdout: 'out\n',
      stderr: 'err\n',
    });
    expect(await cluster.wait(id)).toBe(5);
  });

  it('has directory, environment and umask of where it was typed', async () => {
    const id = await cluster.good([
      'bash',
      '-c',
      'cd /usr; umask 077; X=5 runon -d 2 sh -c "pwd; umask; echo \\$X"',
    ]);
    expect(await cluster.wait(id.trim())).toBe(0);
    expect(await cluster.logs(id.trim())).toBe('/usr\n0077\n5\n');
  });

  it('goes by its name and stays if told so', async () => {
    const id = await cluster.good(['runon', '-d', '--stay', '--name', 'sleeper', '3', 'sleep', '1000']);
    const task = await cluster.taskNamed('sleeper');
    expect(task).toMatchObject({ task: id.trim(), host: 3, stay: true, command: 'sleep 1000' });
    await cluster.good(['skein', 'kill', '-s', 'KILL', task.task]);
    expect(await cluster.wait(task.task)).toBe(137);
  });

  it('fails as others do', async () => {
    const none = await cluster.run(['runon', '-d', '2', 'no-such-command']);
    expect(none).toMatchObject({ status: 127, stdout: '' });
    expect(none.stderr).toMatch(ONE_LINE);
    const nowhere = await cluster.run(['runon', '-d', '9', 'true']);
    expect(nowhere).toMatchObject({ status: 125, stdout: '' });
    expect(nowhere.stderr).toMatch(ONE_LINE);
  });
});

// The last one: it ends a node.
describe('a dead node', () => {
  it('is said in one line, and what ran there is lost', async () => {
    const task = cluster.start(['runon', '3', 'sh', '-c', 'echo ready; sleep 1000']);
    await task.waitFor('ready', (text) => text.includes('ready'));
    const [pid] = readFileSync(join(cluster.nodeFolder(3), 'skeind.pid'), 'utf8').split(' ');
    process.kill(Number(pid), 'SIGKILL');
    const lost = await task.ended;
    expect(lost.status).toBe(125);
    expect(lost.stderr).toMatch(ONE_LINE);
    await until(
      'node 3 is dead',
      () => cluster.nodes(),
      (nodes) => nodes.some(({ node, state }) => node === 3 && state === 'dead'),
      40_000,
    );
    const ending = await cluster.run(['runon', '3', 'true']);
    expect(ending).toMatchObject({ status: 125, stdout: '' });
    expect(ending.stderr).toMatch(ONE_LINE);
    expect(await cluster.good(['runon', '2', 'echo', 'alive'])).toBe('alive\n');
  });

  it('comes up again', async () => {
    await cluster.raise();
    expect(await cluster.good(['runon', '3', 'echo', 'alive'])).toBe('alive\n');
  });
});
