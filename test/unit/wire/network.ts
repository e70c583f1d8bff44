/* Nodes for the tests of the control plane: real sockets at loopback addresses that no other test uses. */
import { randomInt } from 'node:crypto';
import { makeKeyPair, type CurveKeyPair } from '../../../runtime/wire/curve-key.js';
import type { Log } from '../../../runtime/wire/log.js';
import { openPeers, type Body, type PeerAddress, type Peers } from '../../../runtime/wire/peers.js';

/** Collects lines; `seen` resolves with the first that matches, past or to come. */
export class TestLog implements Log {
  readonly lines: string[] = [];
  private readonly waiting = new Set<() => void>();

  info(fields: Readonly<Record<string, unknown>>, text: string): void {
    this.lines.push(`${text} ${JSON.stringify(fields)}`);
    for (const wake of [...this.waiting]) wake();
  }

  warn(fields: Readonly<Record<string, unknown>>, text: string): void {
    this.info(fields, text);
  }

  error(fields: Readonly<Record<string, unknown>>, text: string): void {
    this.info(fields, text);
  }

  seen(pattern: RegExp, times = 1): Promise<string> {
    return new Promise((resolve) => {
      const look = (): void => {
        const found = this.lines.filter((line) => pattern.test(line));
        if (found.length < times) return;
        this.waiting.delete(look);
        resolve(found[0] ?? '');
      };
      this.waiting.add(look);
      look();
    });
  }
}

export interface TestNode extends PeerAddress {
  readonly node: number;
  readonly keys: CurveKeyPair;
}

/** Numbers 1 to `count`, each with a key and an address of its own. */
export function makeNodes(count: number): TestNode[] {
  const network = `127.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  const port = randomInt(20_000, 30_000);
  return Array.from({ length: count }, (_, index) => {
    const keys = makeKeyPair();
    return { node: index + 1, address: `${network}.${index + 1}`, port, publicKey: keys.publicKey, keys };
  });
}

export interface OpenNode {
  readonly peers: Peers;
  readonly log: TestLog;
  readonly events: { from: number; body: Body }[];
  readonly requests: { from: number; body: Body }[];
}

/** Answers `echo` with its fields; fails any other request as its `onRequest` says. */
export async function openNode(
  self: TestNode,
  all: readonly TestNode[],
  onRequest: (from: number, body: Body) => Promise<Readonly<Record<string, unknown>>> = (_from, body) =>
    Promise.resolve({ said: body['say'] }),
): Promise<OpenNode> {
  const log = new TestLog();
  const events: OpenNode['events'] = [];
  const requests: OpenNode['requests'] = [];
  const peers = await openPeers({
    node: self.node,
    address: self.address,
    port: self.port,
    ...self.keys,
    peers: new Map(all.filter((one) => one.node !== self.node).map((one) => [one.node, one])),
    onEvent: (from, body) => {
      events.push({ from, body });
      log.info({ from, type: body.t }, 'event');
    },
    onRequest: (from, body) => {
      requests.push({ from, body });
      return onRequest(from, body);
    },
    log,
  });
  return { peers, log, events, requests };
}
