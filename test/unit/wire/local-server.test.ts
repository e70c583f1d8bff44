import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import { MOST_REQUESTS_OF_LOCAL_PEER } from '../../../runtime/base/limits.js';
import { decodeLocal, encodeLocal, LOCAL_MAX_BYTES } from '../../../runtime/wire/codec-local.js';
import type { LocalMessage } from '../../../runtime/wire/codec-local.js';
import { openLocalServer, type LocalPeer, type LocalServer } from '../../../runtime/wire/local-server.js';
import { openLocalSocket } from '../../../runtime/wire/transport-local.js';
import { TestLog } from './network.js';

const UID = process.getuid?.() ?? 0;
const TOKEN = 'a'.repeat(32);
const CLIENT = { role: 'client', uid: UID, pid: process.pid };
const SHEPHERD = { role: 'shepherd', uid: UID, pid: process.pid, task: '1.1', token: TOKEN };

let folder: string;
let server: LocalServer | null;
let log: TestLog;
let hellos: LocalPeer[];
let gone: LocalPeer[];
let programs: Program[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-local-'));
  [server, log, hellos, gone, programs] = [null, new TestLog(), [], [], []];
});

afterEach(async () => {
  for (const program of programs) program.close();
  await server?.close();
  rmSync(folder, { recursive: true });
});

async function serve(): Promise<LocalServer> {
  server = await openLocalServer({
    statePath: folder,
    node: 7,
    address: '127.0.0.7',
    identify: (token) => (token === TOKEN ? { role: 'shepherd', uid: 12, task: '1.1' } : undefined),
    helloExtra: (peer) => (peer.role === 'shepherd' ? { assignment: { mode: 'start' } } : {}),
    onHello: (peer) => {
      hellos.push(peer);
      log.info({}, 'hello');
    },
    onRequest: (peer, body) => {
      if (body.t === 'never') return new Promise(() => undefined);
      if (body.t === 'fail')
        return Promise.reject(new AgentError('refused', 'not today', { stage: 'first' }));
      if (body.t === 'huge') return Promise.resolve({ much: Buffer.alloc(LOCAL_MAX_BYTES) });
      return Promise.resolve({ said: body['say'], uid: peer.uid });
    },
    onEvent: (peer, body) => {
      if (body.t === 'break') throw new Error('broken');
      log.info({ role: peer.role, ...body }, 'event');
    },
    onGone: (peer) => {
      gone.push(peer);
      log.info({}, 'gone');
    },
    log,
  });
  return server;
}

/** A local program that speaks as it is told to. */
class Program {
  private readonly heard: LocalMessage[] = [];
  private readonly wakes = new Set<() => void>();
  private isConnected = false;
  private readonly socket;
  private nextId = 1;

  constructor() {
    programs.push(this);
    this.socket = openLocalSocket(join(folder, 'agent.sock'), {
      connected: () => this.changed(() => (this.isConnected = true)),
      disconnected: () => this.changed(() => (this.isConnected = false)),
      frame: (frame) => {
        const message = decodeLocal(frame);
        if (typeof message === 'string') throw new Error(message);
        this.changed(() => this.heard.push(message));
      },
    });
  }

  private changed(change: () => unknown): void {
    change();
    for (const wake of [...this.wakes]) wake();
  }

  private until<T>(look: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const again = (): void => {
        const found = look();
        if (found === undefined) return;
        this.wakes.delete(again);
        resolve(found);
      };
      this.wakes.add(again);
      again();
    });
  }

  /** The first message that fits is taken out. */
  next(fits: (message: LocalMessage) => boolean): Promise<LocalMessage> {
    return this.until(() => {
      const at = this.heard.findIndex(fits);
      return at < 0 ? undefined : this.heard.splice(at, 1)[0];
    });
  }

  async raw(frame: Buffer): Promise<void> {
    await this.connected();
    this.socket.send(frame);
  }

  async connected(): Promise<void> {
    await this.until(() => (this.isConnected ? true : undefined));
  }

  async lost(): Promise<void> {
    await this.until(() => (this.isConnected ? undefined : true));
  }

  async ask(t: string, fields: Record<string, unknown> = {}): Promise<LocalMessage> {
    const id = this.nextId++;
    await this.raw(encodeLocal({ ...fields, t, id }));
    return this.next((message) => message.re === id);
  }

  async tell(t: string, fields: Record<string, unknown> = {}): Promise<void> {
    await this.raw(encodeLocal({ ...fields, t }));
  }

  /** As a client that proves itself. */
  async enter(): Promise<void> {
    const { proof } = await this.ask('hello', CLIENT);
    make(proof as string);
    expect(await this.ask('prove')).toMatchObject({ t: 'ok' });
  }

  close(): void {
    this.socket.close();
  }
}

function make(path: string): void {
  closeSync(openSync(path, 'wx', 0o600));
}

describe('the socket of local programs', () => {
  it('is open to all, and takes the place of one that was left behind', async () => {
    await serve();
    expect(statSync(join(folder, 'agent.sock')).mode & 0o777).toBe(0o777);
    expect(statSync(join(folder, 'proof')).mode & 0o7777).toBe(0o1777);
    await server?.close();
    writeFileSync(join(folder, 'agent.sock'), '');
    writeFileSync(join(folder, 'proof', 'left'), '');
    mkdirSync(join(folder, 'proof', 'somebody made this'));
    await serve();
    expect(readdirSync(join(folder, 'proof'))).toEqual(['somebody made this']);
    await new Program().enter();
  });

  it('lets a client in that makes the file it is asked for', async () => {
    await serve();
    const client = new Program();
    const hello = await client.ask('hello', CLIENT);
    expect(hello).toMatchObject({ t: 'ok', node: 7, address: '127.0.0.7' });
    expect(hellos).toEqual([]);
    make(hello['proof'] as string);
    expect(await client.ask('prove')).toMatchObject({ t: 'ok', node: 7 });
    expect(existsSync(hello['proof'] as string)).toBe(false);
    expect(hellos).toMatchObject([{ role: 'client', uid: UID, pid: process.pid, task: null, token: null }]);
    expect(await client.ask('echo', { say: 'x' })).toMatchObject({ t: 'ok', said: 'x', uid: UID });
    expect(await client.ask('fail')).toMatchObject({ t: 'error', code: 'refused', message: 'not today' });
    expect(await client.ask('huge')).toMatchObject({ t: 'error' });
  });

  it.each<[string, (path: string) => void]>([
    ['no file', () => undefined],
    ['a folder', (path) => mkdirSync(path, { mode: 0o700 })],
    ['a file with contents', (path) => writeFileSync(path, 'x', { mode: 0o600 })],
    ['a file that others may read', (path) => writeFileSync(path, '', { mode: 0o644 })],
    [
      'a file that has another name too',
      (path) => {
        make(join(folder, 'other'));
        linkSync(join(folder, 'other'), path);
      },
    ],
    [
      'an older file',
      (path) => {
        make(join(folder, 'older'));
        utimesSync(join(folder, 'older'), 1_000_000, 1_000_000);
        renameSync(join(folder, 'older'), path);
      },
    ],
  ])('refuses %s as a proof', async (_what, prepare) => {
    await serve();
    const client = new Program();
    const { proof } = await client.ask('hello', CLIENT);
    prepare(proof as string);
    expect(await client.ask('prove')).toMatchObject({ t: 'error', code: 'denied' });
    expect(hellos).toEqual([]);
    await client.tell('news');
    await client.next((message) => message.t === 'who');
  });

  it('refuses who claims to be somebody else', async () => {
    await serve();
    const client = new Program();
    const { proof } = await client.ask('hello', { ...CLIENT, uid: UID + 1 });
    make(proof as string);
    const answer = await client.ask('prove');
    expect(answer).toMatchObject({ t: 'error', code: 'denied' });
    expect(answer['message']).toContain(`belongs to uid ${UID}, not ${UID + 1}`);
    expect(hellos).toEqual([]);
  });

  it('does nothing for who has not shown who it is', async () => {
    await serve();
    const client = new Program();
    await client.tell('news');
    await client.next((message) => message.t === 'who');
    const { proof } = await client.ask('hello', CLIENT);
    await client.raw(encodeLocal({ t: 'echo', id: 99 }));
    await client.next((message) => message.t === 'who');
    expect(log.lines).toEqual([]);
    make(proof as string);
    expect(await client.ask('prove')).toMatchObject({ t: 'ok' });
  });

  it('knows natives by their token', async () => {
    const local = await serve();
    const shepherd = new Program();
    expect(await shepherd.ask('hello', SHEPHERD)).toMatchObject({ t: 'ok', assignment: { mode: 'start' } });
    expect(hellos).toMatchObject([{ role: 'shepherd', uid: 12, task: '1.1', token: TOKEN }]);
    await shepherd.tell('announce', { task: '1.1' });
    await log.seen(/^event.*announce/);

    const asked = hellos.map((peer) => local.request(peer, { t: 'why' }, { timeoutMs: 10_000 }));
    const request = await shepherd.next((message) => message.t === 'why');
    await shepherd.raw(encodeLocal({ t: 'ok', re: request.id ?? 0, movable: true }));
    await expect(Promise.all(asked)).resolves.toMatchObject([{ movable: true }]);
    for (const peer of hellos) local.event(peer, { t: 'quit' });
    await shepherd.next((message) => message.t === 'quit');

    for (const changed of [{ token: 'b'.repeat(32) }, { role: 'deputy' }, { task: '1.2' }]) {
      const other = new Program();
      expect(await other.ask('hello', { ...SHEPHERD, ...changed })).toMatchObject({ code: 'denied' });
    }
    expect(hellos).toHaveLength(1);
  });

  it('takes a hello that comes again for what it is', async () => {
    const local = await serve();
    const shepherd = new Program();
    await shepherd.ask('hello', SHEPHERD);
    expect(await shepherd.ask('hello', SHEPHERD)).toMatchObject({ t: 'ok', assignment: { mode: 'start' } });
    expect([hellos.length, gone.length]).toEqual([1, 0]);

    // After its connection was lost it is another to us; the one of before is gone.
    const again = new Program();
    await again.ask('hello', SHEPHERD);
    expect(hellos).toHaveLength(2);
    expect(gone).toEqual(hellos.slice(0, 1));
    const [before, after] = hellos;
    if (before === undefined || after === undefined) throw new Error('two have said hello');
    await expect(local.request(before, { t: 'why' }, { timeoutMs: 10_000 })).rejects.toMatchObject({
      code: 'not-running',
    });
    local.event(after, { t: 'quit' });
    await again.next((message) => message.t === 'quit');
  });

  it('notices that a client has gone when it has something for it', async () => {
    const local = await serve();
    const client = new Program();
    await client.enter();
    client.close();
    const timer = setInterval(() => {
      for (const peer of hellos) local.event(peer, { t: 'event' });
    }, 5);
    await log.seen(/^gone/);
    clearInterval(timer);
    expect(gone).toEqual(hellos);
  });

  it('answers with an error what it can make no sense of', async () => {
    await serve();
    const client = new Program();
    for (const wrong of [
      {},
      { ...CLIENT, role: 'king' },
      { ...CLIENT, uid: -1 },
      { ...CLIENT, pid: 'x' },
      { ...CLIENT, token: '../x' },
    ])
      expect(await client.ask('hello', wrong)).toMatchObject({ t: 'error', code: 'bad-request' });
    await client.tell('hello', CLIENT);
    await log.seen(/a hello that is no request/);
  });

  it('drops garbage, and goes on', async () => {
    await serve();
    const client = new Program();
    await client.enter();
    for (let size = 0; size < 300; size++) await client.raw(randomBytes(size));
    await client.raw(encodeLocal({ t: 'x' }).subarray(0, 3));
    await client.raw(Buffer.from([0x82, 0xa1, 0x76, 0x02, 0xa1, 0x74, 0xa1, 0x78])); // {v: 2, t: "x"}
    expect(await client.ask('echo', { say: 1 })).toMatchObject({ said: 1 });
    expect(log.lines.length).toBeLessThan(30);
    expect(log.lines.length).toBeGreaterThan(0);
    await client.tell('break');
    await log.seen(/failed here.*|broken/);
    expect(await client.ask('echo', { say: 2 })).toMatchObject({ said: 2 });

    // libzmq itself ends the connection of who sends too much; then it is somebody new.
    await client.raw(Buffer.alloc(2 * LOCAL_MAX_BYTES));
    await client.lost();
    await client.enter();
  });

  it('bounds what one program may have open', async () => {
    await serve();
    const client = new Program();
    await client.enter();
    for (let id = 10_000; id < 10_000 + MOST_REQUESTS_OF_LOCAL_PEER; id++)
      await client.raw(encodeLocal({ t: 'never', id }));
    expect(await client.ask('echo')).toMatchObject({ t: 'error', code: 'busy' });
  });

  it('fails what was asked of a program when it ends', async () => {
    const local = await serve();
    const shepherd = new Program();
    await shepherd.ask('hello', SHEPHERD);
    const asked = hellos.map((peer) =>
      expect(local.request(peer, { t: 'why' }, { timeoutMs: 10_000 })).rejects.toBeInstanceOf(AgentError),
    );
    await local.close();
    await Promise.all(asked);
    expect(existsSync(join(folder, 'agent.sock'))).toBe(false);
    server = null;
  });

  it('says that its path is too long', async () => {
    const name = 'x'.repeat(120);
    mkdirSync(join(folder, name));
    const short = folder;
    folder = join(folder, name);
    await expect(serve()).rejects.toThrow(/longer than the 107 bytes/);
    expect(basename(folder)).toBe(name);
    folder = short;
  });
});
