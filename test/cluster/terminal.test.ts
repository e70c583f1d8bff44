/*
 * A task on a terminal: what is typed, what is shown, who has the terminal and how it is afterwards.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Cluster } from './support/cluster.js';
import { Terminal, whyNoTerminal } from './terminal.js';

const PYTHON = '/usr/bin/python3';

let cluster: Cluster;
let terminal: Terminal;
const reason = whyNoTerminal();

beforeAll(async () => {
  cluster = await Cluster.up();
});

afterAll(async () => {
  expect(await cluster.tasks()).toEqual([]);
  await cluster.down();
});

beforeEach(async (context) => {
  if (reason !== null) {
    context.skip(reason);
    return;
  }
  terminal = await Terminal.open({
    width: 80,
    height: 24,
    environment: cluster.environment,
    cwd: cluster.folder,
  });
});

afterEach(async () => {
  if (reason === null) await terminal.close();
  await cluster.expectRest();
});

/** The lines are on the screen, in this order, whatever is between them. */
function shows(...wanted: readonly (string | RegExp)[]): (lines: readonly string[]) => boolean {
  return (lines) => {
    let at = 0;
    for (const line of lines) {
      const next = wanted[at];
      if (next === undefined) break;
      if (typeof next === 'string' ? line === next : next.test(line)) at++;
    }
    return at === wanted.length;
  };
}

async function type(line: string): Promise<void> {
  await terminal.press('-l', line);
  await terminal.press('Enter');
}

describe('what a task sees', () => {
  it('has a terminal of the same size', async () => {
    await terminal.run(`runon 2 sh -c 'tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three'`);
    await terminal.waitFor('its terminal', shows(/^\/dev\/pts\/\d+$/, '24 80', 'all three', '$'));
  });

  it('has the same settings', async () => {
    await terminal.run('stty intr ^B -echoctl; runon 2 stty -g; stty -g');
    // Each is too long for one line.
    const lines = await terminal.waitFor('both', (now) => now[4] === '$');
    const [there, here] = [lines.slice(0, 2), lines.slice(2, 4)];
    expect(there.join('')).toMatch(/^[0-9a-f:]+$/);
    expect(there).toEqual(here);
  });

  it('is a terminal only where one was', async () => {
    const script = `[ -t 0 ] && echo in; [ -t 1 ] && echo out; [ -t 2 ] && echo err >&2; echo end`;
    writeFileSync(join(cluster.folder, 'which.sh'), script);
    await terminal.run('runon 2 sh which.sh | cat');
    const piped = await terminal.waitFor('not the output', (lines) =>
      ['err', 'end', '$'].every((line) => lines.includes(line)),
    );
    expect(piped).not.toContain('out');
    await terminal.run('runon 2 sh which.sh < /dev/null');
    const lines = await terminal.waitFor('not the input', shows('out', 'err', 'end', '$'));
    expect(lines).not.toContain('in');
  });

  it('hears of a new size', async () => {
    const script = `trap 'stty size' WINCH; echo ready; while ! [ -e enough ]; do sleep 0.1; done; echo over`;
    writeFileSync(join(cluster.folder, 'size.sh'), script);
    await terminal.run('runon 2 bash size.sh');
    await terminal.waitFor('ready', shows('ready'));
    await terminal.resize(100, 30);
    await terminal.waitFor('the new size', shows('30 100'));
    await terminal.resize(60, 20);
    await terminal.waitFor('the next size', shows('20 60'));
    writeFileSync(join(cluster.folder, 'enough'), '');
    await terminal.waitFor('the end', shows('over', '$'));
  });

  it('fills the screen and reads single keys', async () => {
    const script = `import curses
def show(screen):
    curses.curs_set(0)
    screen.addstr(10, 30, "full screen")
    screen.refresh()
    screen.addstr(12, 30, "key %d" % screen.getch())
    screen.refresh()
    while screen.getch() != ord("q"):
        pass
curses.wrapper(show)
print("left it")`;
    writeFileSync(join(cluster.folder, 'screen.py'), script);
    await terminal.run(`runon 2 ${PYTHON} screen.py`);
    await terminal.waitFor('the screen', (lines) => lines[10]?.trim() === 'full screen');
    expect(await terminal.hasCursor()).toBe(false);
    await terminal.press('Up');
    await terminal.waitFor('the key', (lines) => lines[12]?.trim() === 'key 259');
    await terminal.press('q');
    await terminal.waitFor('the shell', shows('left it', '$'));
    expect(await terminal.hasCursor()).toBe(true);
  });
});

describe('what is typed', () => {
  it('is a conversation with a shell', async () => {
    await terminal.run('runon 2 bash --norc --noprofile; echo "status $?"');
    await terminal.waitFor('a prompt', (lines) => lines.filter((line) => line === '$').length === 1);
    await type('PS1="there% "');
    await terminal.waitFor('its own prompt', shows('there%'));
    await type('echo $((6*7)); pwd');
    await terminal.waitFor('an answer', shows('42', cluster.folder, 'there%'));
    await type('sleep 1000');
    await terminal.press('C-c');
    await terminal.waitFor('the end of the sleep', shows('there% sleep 1000', /^\^Cthere%|^\^C$/));
    await type('sleep 1001');
    await terminal.press('C-z');
    await terminal.waitFor('a stopped job', shows(/^\[1\]\+ {2}Stopped +sleep 1001$/, 'there%'));
    await type('kill %1; wait; echo no job');
    await terminal.waitFor('no job', shows('no job', 'there%'));
    await type('exit 7');
    await terminal.waitFor('the end', shows('status 7', '$'));
  });

  it('ends with Ctrl-D', async () => {
    await terminal.run(`runon 3 sh -c 'echo ready; exec cat'; echo "status $?"`);
    await terminal.waitFor('ready', shows('ready'));
    await type('some words');
    await terminal.waitFor('an echo and the words', shows('some words', 'some words'));
    await terminal.press('C-d');
    await terminal.waitFor('the end', shows('status 0', '$'));
  });

  it('is not shown when the task says so', async () => {
    await terminal.run(`runon 2 bash -c 'read -s -p "secret: " x; echo; echo "it was $x"'`);
    await terminal.waitFor('the question', shows('secret:'));
    await type('xyzzy');
    const lines = await terminal.waitFor('the answer', shows('it was xyzzy', '$'));
    expect(lines.filter((line) => line.includes('xyzzy'))).toEqual(['it was xyzzy']);
  });

  it.each([
    ['C-c', 130],
    ['C-\\', 131],
  ])('%s ends a task: %i', async (key, status) => {
    await terminal.run('runon 2 sh -c "echo ready; exec sleep 1000"; echo "status $?"');
    await terminal.waitFor('ready', shows('ready'));
    await terminal.press(key);
    await terminal.waitFor('the end', shows(new RegExp(`status ${status}$`), '$'));
  });

  it('goes to a pager, when that reads the keys', async () => {
    await terminal.run(
      `runon 2 seq 1 3 | ${PYTHON} -c 'import sys; print(len(sys.stdin.read())); print(open("/dev/tty").readline())'`,
    );
    await terminal.waitFor('its input', shows('6'));
    await type('keys');
    await terminal.waitFor('both', shows('keys', 'keys', '$'));
  });
});

describe('job control', () => {
  it('stops with Ctrl-Z and goes on with fg', async () => {
    await terminal.run(`runon 2 sh -c 'echo ready; exec cat'; echo "status $?"`);
    await terminal.waitFor('ready', shows('ready'));
    await type('before');
    await terminal.waitFor('an echo', shows('before', 'before'));
    await terminal.press('C-z');
    await terminal.waitFor('a stopped job', shows(/^\[1\]\+ {2}Stopped +runon 2 sh/, /^(status 148|\$)$/));
    await terminal.run('jobs; stty -a | grep -o " echo "');
    await terminal.waitFor('a cooked terminal', shows(/Stopped/, ' echo', '$'));
    await terminal.run('fg');
    await type('after');
    await terminal.waitFor('an echo', shows('after', 'after'));
    await terminal.press('C-d');
    await terminal.waitFor('the end', (lines) => lines.some((line) => line === '$'));
  });

  it('runs in the background, and comes to the front', async () => {
    await terminal.run('runon 2 sh -c "sleep 0.5; echo from behind; cat" &');
    await terminal.waitFor('what it wrote', (lines) => lines.some((line) => line.includes('from behind')));
    await terminal.run('echo mine');
    await terminal.waitFor('the shell has the keys', shows('mine', '$'));
    await terminal.run('fg');
    await type('yours');
    await terminal.waitFor('an echo', shows('yours', 'yours'));
    await terminal.press('C-c');
    await terminal.waitFor('the end', (lines) => lines.at(-1) === '' && lines.includes('$'));
  });
});

describe('afterwards', () => {
  it.each(['true', 'stty raw -echo', `sh -c 'kill -9 $$'`, 'no-such-command'])(
    'the terminal is as it was: %s',
    async (command) => {
      mkdirSync(join(cluster.folder, 'settings'), { recursive: true });
      await terminal.run(`stty -a > settings/before; runon 2 ${command}; stty -a > settings/after; echo end`);
      await terminal.waitFor('the end', shows('end', '$'));
      await terminal.run('cmp settings/before settings/after && echo same');
      await terminal.waitFor('the same', shows('same', '$'));
    },
  );
});

describe('on the move', () => {
  it('a shell goes from node to node while it is typed at', async () => {
    await terminal.run('runon --name shell 2 bash --norc --noprofile; echo "status $?"');
    await terminal.waitFor('a prompt', (lines) => lines.filter((line) => line === '$').length === 1);
    await type('PS1="there% "; x=1');
    const { task, pid } = await cluster.taskNamed('shell');
    for (const [index, node] of [3, 1, 2, 3, 2].entries()) {
      const moving = cluster.migrate(task, node);
      // In the middle of a line: no key may be lost, none come twice.
      for (const key of `echo go-${index}-$((x+=1))`) await terminal.press('-l', key);
      expect(await moving).toMatchObject({ to: node });
      await terminal.press('Enter');
      await terminal.waitFor(`answer ${index}`, shows(`go-${index}-${index + 2}`, 'there%'));
    }
    expect(await cluster.task(task)).toMatchObject({ host: 2, moves: 5, epoch: 6, pid });
    await terminal.resize(90, 25);
    await type('clear; stty size');
    await terminal.waitFor('the new size', shows('25 90', 'there%'));
    await type('sleep 1000');
    await terminal.press('C-c');
    await type('clear; exit 9');
    await terminal.waitFor('the end', shows('status 9', '$'));
  });
});
