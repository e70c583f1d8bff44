import { Duplex } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { Launcher, type Ending, type Running } from '../../../runtime/tasks/launcher.js';

/** skeind's end of the socket. */
class Skeind extends Duplex {
  heard = '';

  override _read(): void {
    return;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.heard += chunk.toString();
    done();
  }

  say(...lines: readonly string[]): Promise<void> {
    this.push(lines.map((line) => `${line}\n`).join(''));
    return new Promise((resolve) => setImmediate(resolve));
  }
}

const what = { uid: 1000, gid: 100, task: '1.1', token: 'f'.repeat(32) };
let skeind: Skeind;
let endings: Ending[];
let running: readonly Running[] | null;
let complaints: number;
let given: Map<number, string>;
let launcher: Launcher;

beforeEach(() => {
  skeind = new Skeind();
  [endings, running, complaints] = [[], null, 0];
  given = new Map();
  const complain = (): void => {
    complaints++;
  };
  launcher = new Launcher(
    skeind,
    500,
    { give: (token, number) => given.set(number, token), tokenOf: (number) => given.get(number) },
    {
      ended: (ending) => endings.push(ending),
      ready: (list) => (running = list),
      gone: () => undefined,
    },
    { info: complain, warn: complain, error: complain },
  );
});

describe('what is said to skeind', () => {
  it('is one line for each start, with a number of its own, written down before', async () => {
    const first = launcher.start('shepherd', what);
    expect(given.get(500)).toBe(what.token);
    const second = launcher.start('deputy', { ...what, task: '1.2' });
    await skeind.say('started 500 77', 'started 501 78');
    await Promise.all([first, second]);
    expect(skeind.heard).toBe(
      `start 500 shepherd 1000 100 1.1 ${what.token}\nstart 501 deputy 1000 100 1.2 ${what.token}\n`,
    );
  });

  it('fails with its reason', async () => {
    const start = expect(launcher.start('shepherd', what)).rejects.toThrow('the launcher: fork: no memory');
    await skeind.say('failed 500 fork: no memory');
    await start;
    expect(endings).toEqual([]);
  });

  it('fails when what was started ends at once', async () => {
    const start = expect(launcher.start('shepherd', what)).rejects.toThrow(
      'the shepherd ended with status 3',
    );
    await skeind.say('ended 500 exit 3');
    await start;
  });
});

describe('what skeind says', () => {
  it('may come in any pieces', async () => {
    void launcher.start('shepherd', what);
    for (const piece of ['start', 'ed 500 7', '7\nended 500 sig', 'nal 9\n']) {
      skeind.push(piece);
      await skeind.say();
    }
    expect(endings).toEqual([
      { role: 'shepherd', task: '1.1', token: what.token, how: 'killed by signal 9', inOrder: false },
    ]);
  });

  it('tells of children from before this agent, by their tokens', async () => {
    given.set(7, 'seven');
    given.set(8, 'eight');
    await skeind.say(
      'running 7 shepherd 1000 1.1 70',
      'running 8 deputy 1000 1.2 71',
      'running 9 deputy 0 1.3 72',
    );
    await skeind.say('ended 8 exit 0', 'ready');
    expect(endings).toMatchObject([{ role: 'deputy', task: '1.2', token: 'eight', inOrder: true }]);
    expect(running).toMatchObject([{ role: 'shepherd', task: '1.1', token: 'seven' }]);
  });

  it('keeps new numbers above the old ones', async () => {
    await skeind.say('running 900 shepherd 0 1.1 70', 'ready');
    void launcher.start('deputy', what);
    expect(skeind.heard).toMatch(/^start 901 /);
  });

  it('is passed over when it makes no sense', async () => {
    await skeind.say(
      '',
      'what',
      'ended',
      'ended 12345 exit 0',
      'running x y z',
      `started ${'9'.repeat(400)}`,
    );
    expect(endings).toEqual([]);
    expect(complaints).toBe(5);
    const start = launcher.start('deputy', what);
    await skeind.say('started 500 1');
    await start;
  });
});
