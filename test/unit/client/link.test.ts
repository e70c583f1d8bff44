/*
 * The client against the socket that agents really serve.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import {
  connect,
  AbortedError,
  AgentLostError,
  BadAnswerError,
  NoAgentError,
  RefusedError,
  TimeoutError,
  type Cluster,
  type SkeinEvent,
} from '../../../runtime/client/index.js';
import { AgentLink } from '../../../runtime/client/link.js';
import {
  openLocalServer,
  type LocalPeer,
  type LocalServer,
  type LocalServerOptions,
} from '../../../runtime/wire/local-server.js';

type OnRequest = LocalServerOptions['onRequest'];

let folder: string;
let server: LocalServer | null;
const clients: { close(): void }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-link-'));
  writeFileSync(join(folder, 'skein.conf'), '');
  server = null;
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.close();
  rmSync(folder, { recursive: true });
});

const never: OnRequest = () => new Promise(() => undefined);

async function serve(
  onRequest: OnRequest,
  onHello: (peer: LocalPeer) => void = () => undefined,
): Promise<void> {
  server = await openLocalServer({
    statePath: folder,
    node: 1,
    address: '127.0.0.1',
    identify: () => undefined,
    helloExtra: () => ({}),
    onHello,
    onRequest,
    onEvent: () => undefined,
    onGone: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
}

async function client(): Promise<Cluster> {
  const cluster = await connect({ dir: folder });
  clients.push(cluster);
  return cluster;
}

async function link(): Promise<AgentLink> {
  const one = await AgentLink.open(folder, {});
  clients.push(one);
  return one;
}

describe('a client', () => {
  it('proves who it is, asks, and is answered', async () => {
    const asked: unknown[] = [];
    await serve((peer, { t, task }) => {
      asked.push([peer.role, peer.uid, peer.pid, t, task]);
      return Promise.resolve({ status: 7 });
    });
    expect(await (await client()).wait('1.17')).toBe(7);
    expect(asked).toEqual([['client', process.getuid?.(), process.pid, 'wait', '1.17']]);
  });

  it('may ask many things at once; answers come in any order', async () => {
    const finish: (() => void)[] = [];
    await serve(
      (_peer, { task }) =>
        new Promise((resolve) => {
          finish.push(() => resolve({ status: Number(String(task).slice(2)) }));
          if (finish.length === 50) for (const one of finish.reverse()) one();
        }),
    );
    const cluster = await client();
    const numbers = Array.from({ length: 50 }, (_, index) => index + 1);
    expect(await Promise.all(numbers.map((number) => cluster.wait(`1.${number}`)))).toEqual(numbers);
  });

  it('is told why the agent refuses', async () => {
    await serve(() => Promise.reject(new AgentError('no-such-task', 'there is no task 1.99')));
    const refused = (await client()).kill('1.99', 15);
    await expect(refused).rejects.toThrow(RefusedError);
    await expect(refused).rejects.toMatchObject({ code: 'no-such-task', message: 'there is no task 1.99' });
  });

  it('takes no answer of another shape', async () => {
    await serve(() => Promise.resolve({ nodes: 'many' }));
    await expect((await client()).nodes()).rejects.toThrow(BadAnswerError);
  });

  it('gives up when it is told to', async () => {
    await serve(never);
    const cluster = await client();
    const ending = new AbortController();
    const asked = cluster.nodes({ signal: ending.signal });
    ending.abort();
    await expect(asked).rejects.toThrow(AbortedError);
    const waiting = cluster.wait('1.1');
    cluster.close();
    await expect(waiting).rejects.toThrow(AbortedError);
    await expect(cluster.nodes()).rejects.toThrow(AbortedError);
  });

  it('gives up after its deadline', async () => {
    await serve(never);
    const asked = (await link()).request('nodes', {}, { timeoutMs: 30, repeat: true });
    await expect(asked).rejects.toThrow(TimeoutError);
  });

  it('says so at once if there is no agent', async () => {
    await expect(connect({ dir: folder })).rejects.toThrow(NoAgentError);
  });
});

describe('a client whose agent is started again', () => {
  it('asks again what may be asked twice', async () => {
    let wasAsked: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => (wasAsked = resolve));
    await serve((peer, message) => {
      wasAsked();
      return never(peer, message);
    });
    const answer = (await client()).wait('1.17');
    await asked;
    await server?.close();
    await serve(() => Promise.resolve({ status: 3 }));
    expect(await answer).toBe(3);
  });

  it('fails what may not', async () => {
    let wasAsked: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => (wasAsked = resolve));
    await serve((peer, message) => {
      wasAsked();
      return never(peer, message);
    });
    const lost = expect((await client()).kill('1.17', 9)).rejects.toThrow(AgentLostError);
    await asked;
    await server?.close();
    server = null;
    await lost;
  });

  it('hears events again', async () => {
    const serveEvents = async (number: number): Promise<void> => {
      await serve((peer) => {
        // After the answer to the subscription.
        setImmediate(() => server?.event(peer, { t: 'event', event: 'moved', number }));
        return Promise.resolve({});
      });
    };
    await serveEvents(1);
    const cluster = await client();
    const seen: SkeinEvent[] = [];
    for await (const event of cluster.events()) {
      seen.push(event);
      if (seen.length === 2) break;
      await server?.close();
      await serveEvents(2);
    }
    expect(seen).toEqual([
      { event: 'moved', number: 1 },
      { event: 'moved', number: 2 },
    ]);
  });
});
