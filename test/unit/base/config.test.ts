import { describe, expect, it } from 'vitest';
import { ConfigError, DEFAULT_PORT, parseConfig, parseKeys } from '../../../runtime/base/config.js';
import { formatTaskId, parseTaskId } from '../../../runtime/base/ids.js';

const LEAST = 'node 2\nmap /c/skein.map\nkeys /c/keys\nstate /c/2\n';

describe('a configuration file', () => {
  it('needs a node and three paths', () => {
    expect(parseConfig(LEAST)).toEqual({
      node: 2,
      mapPath: '/c/skein.map',
      keysPath: '/c/keys',
      statePath: '/c/2',
      port: DEFAULT_PORT,
      isolate: null,
      cpus: null,
      speed: 1,
    });
  });

  it('may say more, with comments', () => {
    const text = `# node of a trial\n${LEAST}port 7000 # not 7071\n\n  isolate\t3\ncpus 1.5\nspeed 0.5\n`;
    expect(parseConfig(text)).toMatchObject({ port: 7000, isolate: 3, cpus: 1.5, speed: 0.5 });
  });

  it('may have blanks in its paths', () => {
    const text = LEAST.replace('/c/keys', '/a cluster/the  keys \t# of all');
    expect(parseConfig(text).keysPath).toBe('/a cluster/the  keys');
  });

  it.each<[string, string]>([
    [`${LEAST}colour red\n`, 'line 5: "colour" is none of node, map'],
    [`${LEAST}node 3\n`, 'line 5: a second node'],
    [`${LEAST}port\n`, 'line 5: port wants one value'],
    [`${LEAST}port 7000 7001\n`, 'line 5: port wants one value'],
    [`${LEAST}port 70000\n`, 'line 5: port wants a port, not 70000'],
    [`${LEAST}port 1.5\n`, 'line 5: port wants a port, not 1.5'],
    [`${LEAST}cpus 0\n`, 'line 5: cpus wants a number of CPUs, not 0'],
    [`${LEAST}cpus -1\n`, 'line 5: cpus wants a number of CPUs, not -1'],
    [`${LEAST}isolate 1e3\n`, 'line 5: isolate wants how many'],
    [LEAST.replace('node 2', 'node 0'), 'line 1: node wants a node number, not 0'],
    [LEAST.replace('/c/keys', 'keys'), 'line 3: keys wants a path from /'],
    [LEAST.replace('node 2', ''), 'no node'],
    [LEAST.replace('state /c/2', ''), 'no state'],
    ['', 'no node'],
  ])('with an error says which line: %j', (text, problem) => {
    expect(() => parseConfig(text)).toThrow(ConfigError);
    expect(() => parseConfig(text)).toThrow(problem);
  });
});

describe('a file of keys', () => {
  const key = 'x'.repeat(40);

  it('has one for each node', () => {
    expect(parseKeys(`# all\n1 ${key}\n\n 2\t${key} \n`)).toEqual(
      new Map([
        [1, key],
        [2, key],
      ]),
    );
  });

  it.each([
    [`1 ${key}\n1 ${key}\n`, 'line 2: a second key of node 1'],
    [`1 ${key}x\n`, 'line 1: wants "number public-key"'],
    [`0 ${key}\n`, 'line 1: wants'],
    [`99999 ${key}\n`, 'line 1: wants'],
    [`one ${key}\n`, 'line 1: wants'],
  ])('with an error says which line: %j', (text, problem) => {
    expect(() => parseKeys(text)).toThrow(problem);
  });
});

describe('the id of a task', () => {
  it('is home and sequence', () => {
    expect(parseTaskId('1.17')).toEqual({ home: 1, sequence: 17 });
    expect(formatTaskId({ home: 65_535, sequence: 3 })).toBe('65535.3');
  });

  it.each(['', '1', '1.', '.1', '0.1', '1.0', '01.1', '1.01', '65536.1', '1.1.1', '1.x', ' 1.1', '1.1\n'])(
    'is not %j',
    (text) => {
      expect(parseTaskId(text)).toBeNull();
    },
  );
});
