/*
 * The map: which node numbers live at which addresses, in the format of MOSIX.
 *
 *     # comment
 *     1 192.168.5.1 4          first number, first address, how many: nodes 1..4 at .1 to .4
 *     5 10.0.0.250 10          goes on at 10.0.1.0 after 10.0.0.255
 *     2 10.9.9.9 ALIAS         node 2 also has this address (a machine with several)
 *     ALIAS 10.9.9.8 2         the same the other way round; 192.168.5.2 instead of 2 will do
 *     PLAIN                    pages travel without encryption: for a private wire only
 */

export interface NodeMap {
  /** Number → address, in order of numbers. */
  readonly nodes: ReadonlyMap<number, string>;
  /** Address → number, aliases included. */
  readonly numbers: ReadonlyMap<string, number>;
  /** CURVE is off for pages. */
  readonly plain: boolean;
}

/** What is wrong with a map, and in which line (0: with all of it). */
export class MapError extends Error {
  readonly code = 'bad-map';

  constructor(
    readonly line: number,
    problem: string,
  ) {
    super(line > 0 ? `map, line ${line}: ${problem}` : `map: ${problem}`);
    this.name = 'MapError';
  }
}

export const MAP_LIMITS = {
  bytes: 1 << 20,
  lines: 10_000,
  node: 65_535,
} as const;

const FORM =
  'wants "first-number first-address count", "number address ALIAS", "ALIAS address number" or "PLAIN"';

/** Whether this is a number that a node can have. */
export function isNodeNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAP_LIMITS.node;
}

export function parseMap(text: string): NodeMap {
  if (text.length > MAP_LIMITS.bytes) throw new MapError(0, `larger than ${MAP_LIMITS.bytes} bytes`);
  const lines = text.split('\n');
  if (lines.length > MAP_LIMITS.lines) throw new MapError(0, `more than ${MAP_LIMITS.lines} lines`);

  const reader = new Reader();
  lines.forEach((content, index) => {
    const words = content
      .replace(/#.*/, '')
      .split(/\s+/)
      .filter((word) => word !== '');
    if (words.length > 0) reader.line(words, index + 1);
  });
  return reader.finish();
}

class Reader {
  private readonly nodes = new Map<number, string>();
  private readonly numbers = new Map<string, number>();
  private readonly lineOfNode = new Map<number, number>();
  private readonly lineOfAddress = new Map<string, number>();
  /** Aliases may stand before their nodes. */
  private readonly aliases: { address: string; of: string; line: number }[] = [];
  private plain = false;

  line(words: readonly string[], line: number): void {
    const [first = '', second = '', third = ''] = words;
    if (words.length === 1 && first === 'PLAIN') {
      this.plain = true;
      return;
    }
    if (words.length !== 3) throw new MapError(line, `${words.length} words; a line ${FORM}`);
    if (first === 'ALIAS') {
      this.aliases.push({ address: toText(parseAddress(second, line)), of: third, line });
    } else if (third === 'ALIAS') {
      this.aliases.push({ address: toText(parseAddress(second, line)), of: first, line });
    } else {
      this.range(parseCount(first, 'node number', line), parseAddress(second, line), third, line);
    }
  }

  private range(firstNumber: number, firstAddress: number, countText: string, line: number): void {
    const count = parseCount(countText, 'count', line);
    if (firstNumber + count - 1 > MAP_LIMITS.node)
      throw new MapError(
        line,
        `the last node would be ${firstNumber + count - 1}; the highest number is ${MAP_LIMITS.node}`,
      );
    const lastAddress = firstAddress + count - 1;
    if (!isHost(lastAddress))
      throw new MapError(
        line,
        `${count} addresses from ${toText(firstAddress)} run past the addresses of hosts`,
      );
    for (let index = 0; index < count; index++) {
      const number = firstNumber + index;
      const address = toText(firstAddress + index);
      const earlier = this.lineOfNode.get(number);
      if (earlier !== undefined) throw new MapError(line, `node ${number} is in line ${earlier} already`);
      this.nodes.set(number, address);
      this.lineOfNode.set(number, line);
      this.claim(address, number, line);
    }
  }

  private claim(address: string, number: number, line: number): void {
    const earlier = this.lineOfAddress.get(address);
    if (earlier !== undefined)
      throw new MapError(
        line,
        `${address} is node ${this.numbers.get(address) ?? 0} in line ${earlier} already, and cannot be node ${number} too`,
      );
    this.numbers.set(address, number);
    this.lineOfAddress.set(address, line);
  }

  finish(): NodeMap {
    for (const { address, of, line } of this.aliases) {
      const number = /^\d+$/.test(of) ? Number(of) : this.numbers.get(toText(parseAddress(of, line)));
      if (number === undefined || !this.nodes.has(number))
        throw new MapError(line, `an alias of ${of}, which is no node of this map`);
      this.claim(address, number, line);
    }
    if (this.nodes.size === 0) throw new MapError(0, 'no nodes');
    const nodes = new Map([...this.nodes].sort(([one], [other]) => one - other));
    return { nodes, numbers: this.numbers, plain: this.plain };
  }
}

function parseCount(word: string, what: string, line: number): number {
  const value = /^\d{1,9}$/.test(word) ? Number(word) : NaN;
  if (!isNodeNumber(value))
    throw new MapError(line, `"${shorten(word)}" is no ${what} from 1 to ${MAP_LIMITS.node}; a line ${FORM}`);
  return value;
}

/** An IPv4 address of a host as a number. */
function parseAddress(word: string, line: number): number {
  const octets = word.split('.').map((part) => (/^(0|[1-9]\d{0,2})$/.test(part) ? Number(part) : NaN));
  if (octets.length !== 4 || octets.some((octet) => !(octet <= 255))) {
    const named = /^[a-z][\w.-]*$/i.test(word);
    throw new MapError(
      line,
      `"${shorten(word)}" is no IPv4 address` +
        (named
          ? `; host names are not looked up: write what \`getent ahostsv4 ${shorten(word)}\` prints`
          : ''),
    );
  }
  const value = octets.reduce((sum, octet) => sum * 256 + octet, 0);
  if (!isHost(value)) throw new MapError(line, `${word} is not the address of a host`);
  return value;
}

/** Neither "this network" nor multicast and beyond. */
function isHost(address: number): boolean {
  return address >= 2 ** 24 && address < 224 * 2 ** 24;
}

function toText(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

function shorten(word: string): string {
  return word.length > 40 ? `${word.slice(0, 40)}…` : word;
}
