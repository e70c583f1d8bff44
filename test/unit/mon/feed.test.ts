import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { feed, once } from '../../../mon/feed.js';
import { NoAgentError } from '../../../runtime/client/index.js';
import { openLocalServer, type LocalServer } from '../../../runtime/wire/local-server.js';
import { node } from './nodes.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-feed-'));
  writeFileSync(join(folder, 'skein.conf'), '');
  vi.stubEnv('SKEIN_DIR', folder);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** An agent's socket behind which there are so many nodes. */
function serve(count: number): Promise<LocalServer> {
  const nodes = Array.from({ length: count }, (_, index) => node(index + 1));
  return openLocalServer({
    statePath: folder,
    node: 1,
    address: '127.0.0.1',
    identify: () => undefined,
    helloExtra: () => ({}),
    onHello: () => undefined,
    onRequest: () => Promise.resolve({ nodes }),
    onEvent: () => undefined,
    onGone: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
}

/** What the feed tells, one thing after the other. */
class Told {
  private readonly waiting: (number | string)[] = [];
  private wake: () => void = () => undefined;

  readonly handlers = {
    nodes: (nodes: readonly unknown[]): void => this.put(nodes.length),
    trouble: (message: string): void => this.put(message),
  };

  /** The next that is so; what comes before it is passed over. */
  async next(isSo: (what: number | string) => boolean = () => true): Promise<number | string> {
    for (;;) {
      const first = this.waiting.shift();
      if (first !== undefined && isSo(first)) return first;
      if (first === undefined) await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  private put(what: number | string): void {
    this.waiting.push(what);
    this.wake();
  }
}

describe('the feed', () => {
  it('fails if there is no agent to begin with', async () => {
    await expect(feed(new Told().handlers, new AbortController().signal)).rejects.toThrow(NoAgentError);
    await expect(once()).rejects.toThrow(NoAgentError);
  });

  it('answers once', async () => {
    const server = await serve(3);
    expect((await once()).nodes).toHaveLength(3);
    await server.close();
  });

  it('asks each second, tells of an agent that is gone, and finds it when it is back', async () => {
    const first = await serve(3);
    const told = new Told();
    const ending = new AbortController();
    const running = feed(told.handlers, ending.signal);
    expect(await told.next()).toBe(3);
    expect(await told.next()).toBe(3);
    await first.close();
    expect(await told.next((what) => what !== 3)).toMatch(/has not answered/);
    expect(await told.next()).toMatch(/is not running/);
    const second = await serve(5);
    expect(await told.next((what) => typeof what === 'number')).toBe(5);
    ending.abort();
    await running;
    await second.close();
  });
});
