/*
 * A cluster on one machine: it comes up, its nodes differ, and nothing of it is left when it is down, whatever
 * happened to it before.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NodeInfo } from '../../runtime/client/index.js';
import { Command, type CommandOptions, type Ending } from './support/command.js';
import { MARK, processesOf, type Process } from './support/processes.js';
import { until } from './support/until.js';

const bin = new URL('../../bin', import.meta.url).pathname;
const BUSY = ['sh', '-c', 'while :; do :; done'];
const LOAD_LIMIT_MS = 60_000;

interface Status {
  readonly folder: string;
  readonly port: number;
  readonly nodes: readonly { readonly node: number; readonly running: boolean; readonly state: string }[];
}

let folder: string;
let cluster: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'updown-'));
  await chmod(folder, 0o755);
  cluster = join(folder, 'the cluster');
});

afterEach(async () => {
  await run(['skein', 'cluster', 'down']);
  for (const { pid } of await processesOf(folder)) killIfThere(pid);
  await rm(folder, { recursive: true });
});

function start(words: readonly string[], options: CommandOptions = {}): Command {
  const environment = {
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    SKEIN_DIR: cluster,
    SKEIN_NODE: '1',
    LC_ALL: 'C.UTF-8',
    [MARK]: folder,
    ...options.environment,
  };
  return new Command(words, { cwd: folder, ...options, environment });
}

function run(words: readonly string[], options: CommandOptions = {}): Promise<Ending> {
  return start(words, options).ended;
}

async function good(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(words);
  expect(status, `${words.join(' ')}\n${stdout}\n${stderr}`).toBe(0);
  return stdout;
}

function on(node: number, ...command: string[]): Promise<string> {
  return good('skein', 'cluster', 'exec', String(node), '--', ...command);
}

async function nodes(): Promise<NodeInfo[]> {
  return JSON.parse(await good('skein', 'nodes', '--json')) as NodeInfo[];
}

/** It fails as a command should: with a status and one line. */
async function refusal(words: readonly string[], status = 1, options: CommandOptions = {}): Promise<string> {
  const ending = await run(words, options);
  expect(ending.stdout).toBe('');
  expect(ending.stderr).toMatch(status === 2 ? /^.+\nusage: .+\n$/ : /^[^\n]+\n$/);
  expect(ending.status).toBe(status);
  return ending.stderr;
}

async function expectNothingLeft(): Promise<void> {
  expect(
    await until(
      'no process is left',
      () => processesOf(folder),
      (left) => left.length === 0,
    ),
  ).toEqual([]);
  expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(folder);
  expect(await readdir(folder)).not.toContain('the cluster');
}

async function kill(isVictim: (process: Process) => boolean): Promise<void> {
  const victims = (await processesOf(folder)).filter(isVictim);
  expect(victims).not.toEqual([]);
  for (const { pid } of victims) killIfThere(pid);
}

/** One that dies of another's death is gone first. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

describe('a cluster', () => {
  it('comes up, has nodes that differ, and goes down', async () => {
    expect(await good('skein', 'cluster', 'up', '3')).toMatch(
      /^3 nodes are up, at 127\.0\.0\.1 to 127\.0\.0\.3/,
    );
    expect((await nodes()).map(({ node, address, state }) => ({ node, address, state }))).toEqual(
      [1, 2, 3].map((node) => ({ node, address: `127.0.0.${node}`, state: 'alive' })),
    );
    const status = JSON.parse(await good('skein', 'cluster', 'status', '--json')) as Status;
    expect(status).toMatchObject({ folder: cluster });
    expect(status.nodes.map(({ node, running, state }) => ({ node, running, state }))).toEqual(
      [1, 2, 3].map((node) => ({ node, running: true, state: 'alive' })),
    );
    expect(await good('skein', 'cluster', 'status')).toContain('node 3: running, alive, 0 tasks');

    // Host names, files and processes are a node's own; the rest of the files is the machine's.
    for (const node of [1, 2, 3]) {
      expect(await on(node, 'uname', '-n')).toBe(`${hostname()}-${node}\n`);
      await on(node, 'sh', '-c', 'echo "$0" >/srv/mine', String(node));
    }
    for (const node of [1, 2, 3]) {
      expect(await on(node, 'ls', '/srv')).toBe('mine\n');
      expect(await on(node, 'cat', '/srv/mine')).toBe(`${node}\n`);
      expect(await readFile(join(cluster, String(node), 'srv/mine'), 'utf8')).toBe(`${node}\n`);
      expect(await on(node, 'cat', '/proc/1/comm')).toBe('skeind\n');
    }
    expect(await on(2, 'pwd')).toBe(`${folder}\n`);
    const pids = (await on(2, 'sh', '-c', 'ls /proc')).split('\n').filter((name) => /^\d+$/.test(name));
    expect(pids.length).toBeLessThan(10);

    // The command's own exit status, words and streams.
    expect((await run(['skein', 'cluster', 'exec', '2', 'sh', '-c', 'exit 7'])).status).toBe(7);
    expect((await run(['skein', 'cluster', 'exec', '2', '--', 'cat'], { input: 'in and out' })).stdout).toBe(
      'in and out',
    );
    expect(await on(3, 'printf', '%s|', 'two words', '--help', '--')).toBe('two words|--help|--|');
    expect(await refusal(['skein', 'cluster', 'exec', '2', 'no-such-command'], 127)).toContain(
      'no such command',
    );
    expect(await refusal(['skein', 'cluster', 'exec', '4', 'true'])).toContain('has nodes 1 to 3');
    expect(await refusal(['skein', 'cluster', 'exec', '2'], 2)).toContain('which command?');

    // Up is up.
    expect(await good('skein', 'cluster', 'up', '3')).toBe(`3 nodes are up already, in ${cluster}\n`);
    expect(await refusal(['skein', 'cluster', 'up', '2'])).toContain('a cluster of 3 nodes is up');

    expect(await good('skein', 'cluster', 'down')).toBe(`the cluster in ${cluster} is down\n`);
    await expectNothingLeft();
    expect(await good('skein', 'cluster', 'down')).toContain('no cluster is up');
    for (const words of [['status'], ['exec', '1', 'true']])
      expect(await refusal(['skein', 'cluster', ...words])).toContain('no cluster is up');
  });

  it('shows the load of the node that is busy', async () => {
    await good('skein', 'cluster', 'up', '2', '--cpus', '1');
    const busy = start(['skein', 'cluster', 'exec', '2', ...BUSY], { limitMs: LOAD_LIMIT_MS * 2 });
    const loads = async (): Promise<number[]> => (await nodes()).map(({ load }) => load);
    await until('node 2 is busy', loads, ([, second = 0]) => second > 0.8, LOAD_LIMIT_MS);
    const [first = 1, second = 0] = await loads();
    expect(first).toBeLessThan(second);
    busy.kill('SIGTERM');
    expect((await busy.ended).status).toBe(143);
    await until('node 2 is idle', loads, ([, second = 1]) => second < 0.2, LOAD_LIMIT_MS);
  });

  it('starts a node again that was killed', async () => {
    await good('skein', 'cluster', 'up', '2');
    await kill(({ program, command }) => program === 'skeind' && command.includes('/2/'));
    const { status, stdout } = await run(['skein', 'cluster', 'status']);
    expect(stdout).toContain('node 2: not running');
    expect(status).toBe(1);
    expect(await refusal(['skein', 'cluster', 'exec', '2', 'true'])).toContain('node 2 is not running');
    expect(await good('skein', 'cluster', 'up', '2')).toContain('started node 2 again');
    expect(await on(2, 'uname', '-n')).toBe(`${hostname()}-2\n`);
  });
});

describe('down', () => {
  const crashes: readonly (readonly [string, (process: Process) => boolean])[] = [
    ['everything', () => true],
    ['all agents', ({ program }) => program === 'node'],
    ['all launchers', ({ program }) => program === 'skeind'],
    ['one node', ({ command }) => command.includes('/1/skein.conf')],
  ];
  it.each(crashes)('leaves nothing after kill -9 of %s', async (_what, isVictim) => {
    await good('skein', 'cluster', 'up', '2');
    const task = (await good('runon', '-d', '2', 'sleep', '1000')).trim();
    expect(task).toMatch(/^1\.\d+$/);
    const command = start(['skein', 'cluster', 'exec', '1', 'sh', '-c', 'echo there; exec sleep 1000']);
    await command.waitFor('word from node 1', (text) => text.includes('there'));
    await kill((one) => one.pid !== command.pid && isVictim(one));
    await good('skein', 'cluster', 'down');
    await command.ended;
    await expectNothingLeft();
  });

  it('ends a runon that waits', async () => {
    await good('skein', 'cluster', 'up', '2');
    const command = start(['runon', '2', 'sh', '-c', 'echo there; exec sleep 1000']);
    await command.waitFor('word from node 2', (text) => text.includes('there'));
    await good('skein', 'cluster', 'down');
    expect((await command.ended).status).not.toBe(0);
    await expectNothingLeft();
  });

  it('ends nobody else, whatever the pid files say', async () => {
    await good('skein', 'cluster', 'up', '1');
    await kill(() => true);
    await until(
      'all are gone',
      () => processesOf(folder),
      (left) => left.length === 0,
    );
    const bystander = start(['sh', '-c', 'echo there; exec sleep 1000'], {
      environment: { [MARK]: 'other' },
    });
    await bystander.waitFor('its word', (text) => text.includes('there'));
    for (const name of ['skeind.pid', 'node.pid'])
      await writeFile(join(cluster, '1', name), `${bystander.pid} 1 0\n`);
    await good('skein', 'cluster', 'down');
    await expectNothingLeft();
    bystander.kill('SIGUSR1');
    expect((await bystander.ended).signal).toBe('SIGUSR1');
  });
});

describe('up', () => {
  it('cleans up after a crash and starts anew', async () => {
    await good('skein', 'cluster', 'up', '2');
    await kill(() => true);
    expect(await good('skein', 'cluster', 'up', '1')).toMatch(
      /had not been shut down in order.*\none node is up/,
    );
    expect(await nodes()).toHaveLength(1);
  });

  it('says that the port is in use', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.2', port: 0 }, resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const { port } = address;
    expect(await refusal(['skein', 'cluster', 'up', '2', '--port', String(port)])).toBe(
      `skein cluster: port ${port} is in use at 127.0.0.2; choose another with --port\n`,
    );
    await new Promise((resolve) => server.close(resolve));
    await expectNothingLeft();
  });

  it('says that the folder cannot be used', async () => {
    expect(await refusal(['skein', 'cluster', 'up', '2', '--dir', '/sys/cluster'])).toMatch(
      /^skein cluster: can't use the folder \/sys\/cluster: permission denied; name another with --dir\n$/,
    );
    await mkdir(cluster);
    await writeFile(join(cluster, 'letter'), 'dear reader');
    expect(await refusal(['skein', 'cluster', 'up', '2'])).toContain(
      'is no cluster; name another with --dir',
    );
    expect(await readdir(cluster)).toEqual(['letter']);
    expect(await refusal(['skein', 'cluster', 'up', '2', '--dir', 'a #b'])).toContain('choose another name');
    await rm(cluster, { recursive: true });
    await writeFile(cluster, '');
    expect(await refusal(['skein', 'cluster', 'up', '2'])).toContain('is not a folder');
    expect(await refusal(['skein', 'cluster', 'down'])).toContain('is not a folder');
  });

  it('says what a machine lacks', async () => {
    const without = ['unshare', '--user', '--map-current-user', '--keep-caps', 'sh', '-c'];
    const script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"';
    const said = await refusal([...without, script, 'skein', 'cluster', 'up', '2']);
    expect(said).toMatch(
      /^skein cluster: user namespaces: none allowed .*sysctl -w user\.max_user_namespaces=15000/,
    );
    await expectNothingLeft();
  });

  it('wants a number of nodes', async () => {
    for (const word of ['0', '65', 'three', '-1', ''])
      expect(await refusal(['skein', 'cluster', 'up', word], 2)).toContain('skein cluster: ');
    expect(await refusal(['skein', 'cluster', 'up'], 2)).toContain('usage: skein cluster up N');
    expect(await refusal(['skein', 'cluster', 'sideways'], 2)).toContain('there is no "sideways"');
  });
});

describe('doctor', () => {
  it('finds nothing to mend here', async () => {
    const findings = JSON.parse(await good('skein', 'doctor', '--json')) as { ok: boolean; mend: unknown }[];
    expect(findings.length).toBeGreaterThan(4);
    for (const finding of findings) expect(finding).toMatchObject({ ok: true, mend: null });
    expect(await good('skein', 'doctor')).toMatch(/^(ok +.+\n)+$/);
  });
});
