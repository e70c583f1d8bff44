/*
 * mon, by what is really on the screen of a terminal, before a real cluster.
 */
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { NodeInfo } from '../../runtime/client/index.js';
import { Terminal, whyNoTerminal } from './terminal.js';

const bin = join(dirname(fileURLToPath(import.meta.url)), '../../bin');
const UP_LIMIT_MS = 60_000;
const LOAD_LIMIT_MS = 30_000;
const DEATH_LIMIT_MS = 40_000;

let folder: string;
let environment: Record<string, string>;

function command(name: string, ...words: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(join(bin, name), words, {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: UP_LIMIT_MS,
  });
}

function skein(...words: readonly string[]): void {
  const { status, stdout, stderr } = command('skein', ...words);
  expect(status, `skein ${words.join(' ')}\n${stdout}${stderr}`).toBe(0);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mon-'));
  // A cluster of root's wants its folders open: its tasks run as another user.
  chmodSync(folder, 0o755);
  environment = { SKEIN_DIR: join(folder, 'cluster') };
  skein('cluster', 'up', '3', '--dir', join(folder, 'cluster'));
}, UP_LIMIT_MS);

afterAll(() => {
  skein('cluster', 'down', '--dir', join(folder, 'cluster'));
  rmSync(folder, { recursive: true });
}, UP_LIMIT_MS);

/** The characters above a node's number, from the top, without blanks and figures. */
function column(lines: readonly string[], node: number): string {
  const numbers = lines.findIndex((line) => line.startsWith('Node '));
  const at = (lines[numbers] ?? '').lastIndexOf(String(node));
  return lines
    .slice(0, numbers - 1)
    .map((line) => line.charAt(at))
    .join('')
    .replaceAll(/[ \d.]/g, '');
}

function isPicture(lines: readonly string[]): boolean {
  return lines.some((line) => /^Nodes 3 {2}Live 3 {2}/.test(line));
}

describe('mon without a screen', () => {
  it('prints the picture once', () => {
    const { status, stdout, stderr } = command('mon', '--once');
    expect([status, stderr]).toEqual([0, '']);
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^ *\d+\.\d\d \|/);
    expect(stdout).toMatch(/^Node +1 +2 +3$/m);
    expect(stdout).toMatch(/^Nodes 3 {2}Live 3 {2}information \d+\.\d s old$/m);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it('prints one JSON value once', () => {
    const { status, stdout } = command('mon', '--once', '--json');
    expect(status).toBe(0);
    const { atMs, nodes } = JSON.parse(stdout) as { atMs: number; nodes: NodeInfo[] };
    expect(Math.abs(Date.now() - atMs)).toBeLessThan(60_000);
    expect(nodes.map(({ node, state }) => [node, state])).toEqual([
      [1, 'alive'],
      [2, 'alive'],
      [3, 'alive'],
    ]);
  });

  it('prints a line of JSON each second until it is told to end', async () => {
    const child = spawn(join(bin, 'mon'), ['--json'], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    let text = '';
    for await (const piece of child.stdout) {
      text += String(piece);
      if (text.split('\n').length > 3) child.kill('SIGTERM');
    }
    expect(await ended).toBe(0);
    const times = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { atMs: number }).atMs);
    expect(times.length).toBeGreaterThanOrEqual(3);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(500);
  });

  it('asks the node that SKEIN_NODE says, and says so if there is none', () => {
    const ofNode = (node: string): SpawnSyncReturns<string> =>
      spawnSync(join(bin, 'mon'), ['--once'], {
        encoding: 'utf8',
        env: { ...process.env, ...environment, SKEIN_NODE: node },
      });
    expect(ofNode('2').stdout).toMatch(/^Nodes 3 /m);
    const none = ofNode('9');
    expect(none.status).toBe(1);
    expect(none.stderr).toMatch(/^mon: .*has no node 9.*\n$/);
  });

  it('says in one line what to do where there is no terminal', () => {
    const { status, stdout, stderr } = command('mon');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^mon: .*mon --once.*\n$/);
  });

  it('says in one line that there is no agent', () => {
    const { status, stderr } = spawnSync(join(bin, 'mon'), ['--once'], {
      encoding: 'utf8',
      env: { ...process.env, SKEIN_DIR: folder },
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^mon: .*\n$/);
  });

  it('refuses words that it does not know', () => {
    const { status, stderr } = command('mon', '--twice');
    expect(status).toBe(2);
    expect(stderr).toContain('usage: mon');
  });
});

describe('mon on a terminal', () => {
  const reason = whyNoTerminal();
  let terminal: Terminal;

  beforeEach(async (context) => {
    if (reason !== null) {
      context.skip(reason);
      return;
    }
    terminal = await Terminal.open({ width: 80, height: 24, environment, cwd: bin });
    await terminal.run('./mon; echo "status $?"');
    await terminal.waitFor('the picture', isPicture);
  });

  afterEach(async () => {
    if (reason === null) await terminal.close();
  });

  async function expectShell(status: number): Promise<void> {
    await terminal.waitFor('the shell', (lines) => lines[0] === `status ${status}` && lines[1] === '$');
    expect(await terminal.hasCursor()).toBe(true);
    await terminal.run('stty -a');
    const settings = await terminal.waitFor('the settings', (lines) => lines.join(' ').includes(' echo '));
    expect(settings.join(' ')).toMatch(/(^| )icanon .* echo /);
  }

  it('fills the screen: scale, axis, numbers, status', async () => {
    const lines = await terminal.waitFor('the picture', isPicture);
    expect(lines[0]).toMatch(/^ *\d+\.\d\d \|/);
    expect(lines[21]).toMatch(/^ {6}\+-{73}$/);
    expect(lines[22]).toMatch(/^Node +1 +2 +3$/);
    expect(lines[23]).toMatch(/^Nodes 3 {2}Live 3 {2}information \d+\.\d s old +h help {2}q quit$/);
  });

  it('raises the bar of a node that is busy, and lowers it again', async () => {
    const stop = join(folder, 'stop');
    const loop = `while [ ! -e ${stop} ]; do :; done`;
    const busy = spawn(join(bin, 'skein'), ['cluster', 'exec', '2', '--', 'sh', '-c', loop], {
      env: { ...process.env, ...environment },
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => busy.once('exit', resolve));
    try {
      const lines = await terminal.waitFor(
        'a high bar',
        (screen) => column(screen, 2).length >= 10,
        LOAD_LIMIT_MS,
      );
      expect(column(lines, 2)).toMatch(/^#+$/);
      expect(column(lines, 3).length).toBeLessThan(column(lines, 2).length);
    } finally {
      writeFileSync(stop, '');
      await ended;
    }
    await terminal.waitFor('a low bar', (screen) => column(screen, 2).length < 10, LOAD_LIMIT_MS);
  });

  it('is readable at 30×20, and again at 80×24', async () => {
    await terminal.resize(30, 20);
    const small = await terminal.waitFor('a small picture', (lines) =>
      /^Nodes 3 .* old$/.test(lines[19] ?? ''),
    );
    expect(small[0]).toMatch(/^ *\d+\.\d\d \|/);
    expect(small[17]).toMatch(/^ {6}\+-{23}$/);
    expect(small[18]).toMatch(/^Node +1 +2 +3$/);
    expect(small[19]).toMatch(/^Nodes 3 {2}Live 3 {2}\d+\.\d s old$/);
    await terminal.resize(80, 24);
    await terminal.waitFor('the large picture', (lines) => /q quit$/.test(lines[23] ?? ''));
  });

  it('helps', async () => {
    await terminal.press('h');
    const lines = await terminal.waitFor('help', (screen) => screen.join('\n').includes('q: quit'));
    expect(lines.join('\n')).toMatch(/DEAD {2}not there/);
    await terminal.press('h');
    await terminal.waitFor('the picture', (screen) => !screen.join('\n').includes('q: quit'));
  });

  it.each([
    ['q', 'q'],
    ['Ctrl-C', 'C-c'],
  ])('ends with %s and leaves the terminal as it was', async (_name, key) => {
    await terminal.press(key);
    await expectShell(0);
  });

  it('marks a node that died, and draws it again when it is back', async () => {
    const [pid] = readFileSync(join(folder, 'cluster/3/skeind.pid'), 'utf8').split(' ');
    process.kill(Number(pid), 'SIGKILL');
    const dead = await terminal.waitFor('a mark', (lines) => column(lines, 3) === 'DEAD', DEATH_LIMIT_MS);
    expect(dead[23]).toMatch(/^Nodes 3 {2}Live 2 /);
    skein('cluster', 'up', '3', '--dir', join(folder, 'cluster'));
    await terminal.waitFor('three live nodes', isPicture, DEATH_LIMIT_MS);
    expect(column(await terminal.screen(), 3)).not.toContain('D');
  });
});
