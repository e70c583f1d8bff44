import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import { encodeLocal, LOCAL_MAX_BYTES } from '../../../runtime/wire/codec-local.js';
import { makeKeyPair, sharedSecret } from '../../../runtime/wire/curve-key.js';
import { NO_SESSION, open, seal, sealKey, SESSION_BYTES } from '../../../runtime/wire/seal.js';
import type { Sealed } from '../../../runtime/wire/seal.js';
import { dial, makePeerContext, type CurveIdentity } from '../../../runtime/wire/transport-peers.js';
import { makeNodes, openNode, type OpenNode, type TestNode } from './network.js';

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(...parameters: Parameters<typeof openNode>): Promise<OpenNode> {
  const node = await openNode(...parameters);
  cleanups.push(() => node.peers.close());
  return node;
}

function pair(): [TestNode, TestNode, TestNode] {
  const [one, two, three] = makeNodes(3);
  if (one === undefined || two === undefined || three === undefined) throw new Error('three nodes were made');
  return [one, two, three];
}

const ASK = { timeoutMs: 10_000 };

/** A connection made by hand, to send what an agent would not. */
class RawPeer {
  readonly frames: Buffer[] = [];
  connections = 0;
  losses = 0;
  private readonly wakes = new Set<() => void>();
  private readonly socket;

  constructor(identity: CurveIdentity, target: TestNode) {
    const changed = (): void => {
      for (const wake of [...this.wakes]) wake();
    };
    this.socket = dial(
      makePeerContext(),
      `tcp://${target.address}:${target.port}`,
      identity,
      target.publicKey,
      {
        connected: () => {
          this.connections++;
          changed();
        },
        disconnected: () => {
          this.losses++;
          changed();
        },
        received: (frame) => {
          this.frames.push(Buffer.from(frame));
          changed();
        },
      },
    );
    cleanups.push(() => this.socket.close());
  }

  until(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!done()) return;
        this.wakes.delete(look);
        resolve();
      };
      this.wakes.add(look);
      look();
    });
  }

  send(frame: Buffer): void {
    expect(this.socket.send(frame)).toBe(true);
  }
}

/** A session with node `target` that is kept by hand. */
async function handshake(self: TestNode, target: TestNode) {
  const raw = new RawPeer(self.keys, target);
  await raw.until(() => raw.connections > 0);
  const key = sealKey(sharedSecret(self.keys.secretKey, target.publicKey));
  const dialler = randomBytes(SESSION_BYTES);
  const head = { from: self.node, to: target.node, dialler };
  raw.send(seal(key, { ...head, kind: 'hello', listener: NO_SESSION, counter: 0, body: Buffer.alloc(0) }));
  await raw.until(() => raw.frames.length > 0);
  const challenge = open(raw.frames[0] ?? Buffer.alloc(0), self.node, () => key);
  if (typeof challenge === 'string') throw new Error(challenge);
  expect(challenge.kind).toBe('challenge');
  const { listener } = challenge;
  const data = (counter: number, body: Buffer): Sealed => ({
    ...head,
    kind: 'data',
    listener,
    counter,
    body,
  });
  return { raw, key, data };
}

describe('agents among themselves', () => {
  it('ask, answer and tell', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const two = await start(nodes[1], nodes);
    await expect(one.peers.request(2, { t: 'echo', say: 'a' }, ASK)).resolves.toMatchObject({ said: 'a' });
    await expect(two.peers.request(1, { t: 'echo', say: 'b' }, ASK)).resolves.toMatchObject({ said: 'b' });
    one.peers.event(2, { t: 'news', n: 1 });
    await two.log.seen(/^event.*news/);
    expect(two.events).toMatchObject([{ from: 1, body: { t: 'news', n: 1 } }]);
    expect(two.requests.map(({ from }) => from)).toEqual([1]);
  });

  it('carry many requests at once, and large ones', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    await start(nodes[1], nodes);
    const said = Array.from({ length: 200 }, (_, index) => index);
    const answers = await Promise.all(said.map((say) => one.peers.request(2, { t: 'echo', say }, ASK)));
    expect(answers.map((answer) => answer['said'])).toEqual(said);
    const say = randomBytes(LOCAL_MAX_BYTES - 200);
    const answer = await one.peers.request(2, { t: 'echo', say }, ASK);
    expect(Buffer.compare(answer['said'] as Buffer, say)).toBe(0);
  });

  it('pass on how a request failed', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    await start(nodes[1], nodes, () =>
      Promise.reject(new AgentError('stay', 'it has a GPU', { reasons: [{ pid: 2 }] })),
    );
    const failed = one.peers.request(2, { t: 'move' }, ASK);
    await expect(failed).rejects.toMatchObject({
      code: 'stay',
      message: 'it has a GPU',
      details: { reasons: [{ pid: 2 }] },
    });
  });

  it('tell a time-out of theirs from one of the other', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    await start(nodes[1], nodes, () => Promise.reject(new AgentError('timeout', 'the shepherd is silent')));
    await expect(one.peers.request(2, { t: 'x' }, ASK)).rejects.toMatchObject({ code: 'timeout' });
  });

  it('say that a node is unknown, or dead, and do not do later what was given up', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    await expect(one.peers.request(9, { t: 'x' }, ASK)).rejects.toMatchObject({ code: 'unknown-node' });
    await expect(one.peers.request(2, { t: 'late' }, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'dead-node',
    });
    const aborted = one.peers.request(2, { t: 'late' }, { ...ASK, signal: AbortSignal.timeout(10) });
    await expect(aborted).rejects.toBeInstanceOf(AgentError);
    const two = await start(nodes[1], nodes);
    await one.peers.request(2, { t: 'now' }, ASK);
    expect(two.requests.map(({ body }) => body.t)).toEqual(['now']);
  });

  it('go on after one of them was restarted', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const before = await openNode(nodes[1], nodes);
    await one.peers.request(2, { t: 'echo' }, ASK);
    const open = one.peers.request(2, { t: 'echo' }, ASK).catch((error: unknown) => error);
    await before.peers.close();
    await open;
    await start(nodes[1], nodes);
    // The loss may be noticed only by this one.
    await one.peers.request(2, { t: 'echo', say: 1 }, ASK).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'dead-node' });
    });
    await expect(one.peers.request(2, { t: 'echo', say: 2 }, ASK)).resolves.toMatchObject({ said: 2 });
  });

  it('fail what a node was working on when it went', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const two = await openNode(nodes[1], nodes, () => new Promise(() => undefined));
    const asked = expect(one.peers.request(2, { t: 'x' }, { timeoutMs: 60_000 })).rejects.toMatchObject({
      code: 'dead-node',
    });
    one.peers.event(2, { t: 'mark' });
    await expect(one.peers.request(2, { t: 'y' }, { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'dead-node',
    });
    await two.peers.close();
    await asked;
  });

  it('fail what was asked when they end', async () => {
    const nodes = pair();
    const one = await openNode(nodes[0], nodes);
    const asked = expect(one.peers.request(2, { t: 'x' }, ASK)).rejects.toBeInstanceOf(AgentError);
    await one.peers.close();
    await asked;
  });

  it('say which address is in use', async () => {
    const nodes = pair();
    await start(nodes[0], nodes);
    await expect(openNode(nodes[0], nodes)).rejects.toThrow(
      new RegExp(`can't listen at ${nodes[0].address}, port ${nodes[0].port}: Address already in use`),
    );
  });

  it('say whose key is none', async () => {
    const nodes = pair();
    const bad = { ...nodes[1], publicKey: '!'.repeat(39) };
    await expect(openNode(nodes[0], [nodes[0], bad])).rejects.toThrow(/the key of node 2 .*not a CURVE key/);
  });

  it('go on when the handling of an event fails', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const two = await start(nodes[1], nodes);
    two.events.push = () => {
      throw new Error('broken');
    };
    await one.peers.request(2, { t: 'echo' }, ASK);
    one.peers.event(2, { t: 'news' });
    await two.log.seen(/failed here.*broken/);
    await expect(one.peers.request(2, { t: 'echo', say: 3 }, ASK)).resolves.toMatchObject({ said: 3 });
  });
});

describe('what does not belong', () => {
  it('a stranger is not let in', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const stranger = new RawPeer(makeKeyPair(), nodes[0]);
    await one.log.seen(/a key that is not in the map/);
    expect(stranger.connections).toBe(0);
  });

  it('a node of the map is let in, but not under the number of another', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const liar = { ...nodes[2], node: 2 };
    const raw = new RawPeer(nodes[2].keys, nodes[0]);
    await raw.until(() => raw.connections > 0);
    const key = sealKey(sharedSecret(liar.keys.secretKey, nodes[0].publicKey));
    const hello = { kind: 'hello', to: 1, listener: NO_SESSION, counter: 0, body: Buffer.alloc(0) } as const;
    const dialler = randomBytes(SESSION_BYTES);
    raw.send(seal(key, { ...hello, from: 2, dialler }));
    await one.log.seen(/not sealed by node 2/);
    for (const from of [1, 77]) raw.send(seal(key, { ...hello, from, dialler }));
    await one.log.seen(/from node 77, which is not in the map/);
    await one.log.seen(/from node 1, which is not in the map/);
    raw.send(seal(key, { ...hello, from: 3, to: 2, dialler }));
    await one.log.seen(/for node 2/);
    expect(raw.frames).toEqual([]);
  });

  it('what comes again, or without a session, is not done again', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const { raw, key, data } = await handshake(nodes[1], nodes[0]);
    const first = seal(key, data(1, encodeLocal({ t: 'count' })));
    const third = seal(key, data(3, encodeLocal({ t: 'count' })));
    for (const frame of [first, first, third, first, seal(key, data(2, encodeLocal({ t: 'count' })))])
      raw.send(frame);
    await one.log.seen(/came again/, 3);
    expect(one.events).toHaveLength(2);

    const answers = raw.frames.length;
    raw.send(seal(key, { ...data(4, encodeLocal({ t: 'count' })), listener: randomBytes(SESSION_BYTES) }));
    await raw.until(() => raw.frames.length > answers);
    expect(open(raw.frames.at(-1) ?? first, 2, () => key)).toMatchObject({ kind: 'unknown-session' });
    expect(one.events).toHaveLength(2);
  });

  it('frames that are changed, cut, too large or of another version are dropped, and all goes on', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const { raw, key, data } = await handshake(nodes[1], nodes[0]);
    const good = (counter: number): Buffer =>
      seal(key, data(counter, encodeLocal({ t: 'good', n: counter })));
    const whole = good(1);
    raw.send(whole.subarray(0, 20));
    await one.log.seen(/20 bytes are too few/);
    raw.send(Buffer.concat([Buffer.from('SKP2'), whole.subarray(4)]));
    await one.log.seen(/another protocol or version/);
    const changed = Buffer.from(whole);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    raw.send(changed);
    await one.log.seen(/not sealed by node 2/);
    raw.send(seal(key, data(2, Buffer.from([0xc1]))));
    await one.log.seen(/from node 2: /);
    raw.send(good(3));
    await one.log.seen(/^event.*good/);
    expect(one.events).toMatchObject([{ from: 2, body: { n: 3 } }]);

    // libzmq itself ends the connection of who sends too much.
    raw.send(Buffer.alloc(2 * LOCAL_MAX_BYTES));
    await raw.until(() => raw.losses > 0);
    await raw.until(() => raw.connections > 1);
    raw.send(good(4));
    await one.log.seen(/^event.*good/, 2);
  });

  it('random frames do no harm', async () => {
    const nodes = pair();
    const one = await start(nodes[0], nodes);
    const { raw, key, data } = await handshake(nodes[1], nodes[0]);
    for (let size = 0; size < 300; size++) raw.send(randomBytes(size));
    for (let counter = 1; counter <= 300; counter++) raw.send(seal(key, data(counter, randomBytes(counter))));
    raw.send(seal(key, data(301, encodeLocal({ t: 'good' }))));
    await one.log.seen(/^event.*good/);
    expect(one.log.lines.length).toBeLessThan(50);
  });
});
