import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSettings } from '../../../runtime/agent/settings.js';
import { makeKeyPair } from '../../../runtime/wire/curve-key.js';

const mine = makeKeyPair();
const theirs = makeKeyPair();
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-settings-'));
  put('skein.map', '1 127.0.0.1 2\n');
  put('keys', `1 ${mine.publicKey}\n2 ${theirs.publicKey}\n`);
  put('key.secret', mine.secretKey);
  put('skein.conf', conf());
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function put(name: string, text: string): void {
  writeFileSync(join(folder, name), text, { mode: 0o600 });
}

function conf(state = folder): string {
  return `node 1\nmap ${folder}/skein.map\nkeys ${folder}/keys\nstate ${state}\nport 7000\n`;
}

function read(): ReturnType<typeof readSettings> {
  return readSettings(join(folder, 'skein.conf'));
}

describe('what an agent reads before it starts', () => {
  it('is its place in the map, its keys and those of the others', () => {
    const { address, publicKey, peers } = read();
    expect([address, publicKey]).toEqual(['127.0.0.1', mine.publicKey]);
    expect([...peers]).toEqual([[2, { address: '127.0.0.2', port: 7000, publicKey: theirs.publicKey }]]);
  });

  it.each<[string, string, string, RegExp]>([
    ['a line of the configuration', 'skein.conf', 'node one\n', /skein\.conf: line 1: node wants/],
    ['a line of the map', 'skein.map', '1 127.0.0.1 2\n7 nowhere\n', /skein\.map: .*line 2/],
    ['two nodes of one number', 'skein.map', '1 127.0.0.1 2\n2 127.0.0.9 1\n', /skein\.map: .*line 2/],
    ['a node that is not in the map', 'skein.map', '5 127.0.0.1 2\n', /node 1 is not in the map/],
    ['a line of the keys', 'keys', 'one key\n', /keys: line 1/],
    ['a key that is none', 'key.secret', 'secret', /key\.secret: not a CURVE key/],
    ['another node’s key', 'keys', `1 ${theirs.publicKey}\n`, /the key of node 1 is not that of/],
  ])('%s that is wrong is said in one line', (_what, file, text, message) => {
    put(file, text);
    expect(read).toThrow(message);
    expect(messageOf(read)).not.toContain('\n');
  });

  it.each(['skein.map', 'keys', 'key.secret'])('a missing %s is said by its path', (name) => {
    rmSync(join(folder, name));
    expect(read).toThrow(`${join(folder, name)}: there is no such file`);
  });

  it('a secret that others can read is refused, with the remedy', () => {
    chmodSync(join(folder, 'key.secret'), 0o644);
    expect(read).toThrow(`chmod 600 ${join(folder, 'key.secret')}`);
  });

  it('a state folder that can not be written is refused', () => {
    put('skein.conf', conf('/proc/self'));
    expect(read).toThrow('the state folder /proc/self is not writable');
  });
});

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return String(error);
  }
  return '';
}
