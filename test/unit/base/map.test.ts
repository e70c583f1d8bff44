import { describe, expect, it } from 'vitest';
import { isNodeNumber, MapError, parseMap } from '../../../runtime/base/map.js';

function nodes(text: string): Record<number, string> {
  return Object.fromEntries(parseMap(text).nodes);
}

function errorOf(text: string): MapError {
  try {
    parseMap(text);
  } catch (error) {
    if (error instanceof MapError) return error;
    throw error;
  }
  throw new Error(`this map was taken: ${text}`);
}

describe('a map', () => {
  it('is one line for a cluster on one machine', () => {
    expect(nodes('1 127.0.0.1 3\n')).toEqual({ 1: '127.0.0.1', 2: '127.0.0.2', 3: '127.0.0.3' });
  });

  it('has ranges, in any order, and goes on past .255', () => {
    expect(nodes('7 10.0.0.254 3\n1 192.168.5.1 2')).toEqual({
      1: '192.168.5.1',
      2: '192.168.5.2',
      7: '10.0.0.254',
      8: '10.0.0.255',
      9: '10.0.1.0',
    });
    expect([...parseMap('7 10.0.0.1 1\n1 10.0.1.1 1').nodes.keys()]).toEqual([1, 7]);
  });

  it('has comments, empty lines, blanks, tabs and carriage returns', () => {
    expect(nodes('# all of it\n\n \t 1\t10.0.0.1   1 # the first\r\n#2 10.0.0.2 1\n')).toEqual({
      1: '10.0.0.1',
    });
  });

  it('has aliases in three forms, before or after their nodes', () => {
    const map = parseMap('ALIAS 10.9.9.8 2\n1 10.0.0.1 2\n2 10.9.9.9 ALIAS\nALIAS 10.9.9.7 10.0.0.1');
    expect(Object.fromEntries(map.nodes)).toEqual({ 1: '10.0.0.1', 2: '10.0.0.2' });
    expect(Object.fromEntries(map.numbers)).toEqual({
      '10.0.0.1': 1,
      '10.0.0.2': 2,
      '10.9.9.8': 2,
      '10.9.9.9': 2,
      '10.9.9.7': 1,
    });
  });

  it('says whether the wire is plain', () => {
    expect(parseMap('1 10.0.0.1 1').plain).toBe(false);
    expect(parseMap('PLAIN\n1 10.0.0.1 1').plain).toBe(true);
  });

  it('may have the highest number there is', () => {
    expect(nodes('65535 10.0.0.1 1')).toEqual({ 65535: '10.0.0.1' });
  });
});

describe('a bad map', () => {
  it.each([
    ['', 0, /no nodes/],
    ['# nothing but this', 0, /no nodes/],
    ['1 10.0.0.1 1\n2 10.0.0.2', 2, /2 words/],
    ['1 10.0.0.1 1 1', 1, /4 words/],
    ['1 10.0.0.1 1\n\n# x\nx 10.0.0.2 1', 4, /"x" is no node number/],
    ['0 10.0.0.1 1', 1, /"0" is no node number/],
    ['-1 10.0.0.1 1', 1, /"-1" is no node number/],
    ['1.5 10.0.0.1 1', 1, /"1.5" is no node number/],
    ['65536 10.0.0.1 1', 1, /no node number from 1 to 65535/],
    ['1 10.0.0.1 0', 1, /"0" is no count/],
    ['1 10.0.0.1 -3', 1, /"-3" is no count/],
    ['65535 10.0.0.1 2', 1, /last node would be 65536/],
    ['1 10.0.0 1', 1, /"10.0.0" is no IPv4 address/],
    ['1 10.0.0.256 1', 1, /no IPv4 address/],
    ['1 10.0.0.01 1', 1, /no IPv4 address/],
    ['1 ::1 1', 1, /no IPv4 address/],
    ['1 host-a 1', 1, /host names are not looked up.*getent ahostsv4 host-a/],
    ['1 0.0.0.1 1', 1, /not the address of a host/],
    ['1 224.0.0.1 1', 1, /not the address of a host/],
    ['1 223.255.255.255 2', 1, /run past the addresses of hosts/],
    ['1 10.0.0.1 3\n3 10.0.1.1 1', 2, /node 3 is in line 1 already/],
    ['1 10.0.0.1 3\n9 10.0.0.3 1', 2, /10\.0\.0\.3 is node 3 in line 1 already/],
    ['1 10.0.0.1 1\n1 10.0.0.1 ALIAS', 2, /10\.0\.0\.1 is node 1 in line 1 already/],
    ['1 10.0.0.1 1\n5 10.9.9.9 ALIAS', 2, /alias of 5, which is no node/],
    ['1 10.0.0.1 1\nALIAS 10.9.9.9 10.0.0.7', 2, /alias of 10\.0\.0\.7, which is no node/],
    ['1 10.0.0.1 1\nplain', 2, /1 words/],
  ])('%j is an error in line %d', (text, line, problem) => {
    const error = errorOf(text);
    expect(error.line).toBe(line);
    expect(error.message).toMatch(problem);
    expect(error.message).toMatch(line > 0 ? new RegExp(`^map, line ${line}: `) : /^map: /);
    expect(error.code).toBe('bad-map');
  });

  it('is one that is too large', () => {
    expect(errorOf('\n'.repeat(10_001)).message).toMatch(/more than 10000 lines/);
    expect(errorOf('#'.repeat((1 << 20) + 1)).message).toMatch(/larger than/);
  });

  it('does not repeat a long word in full', () => {
    expect(errorOf(`${'9'.repeat(5_000)} 10.0.0.1 1`).message.length).toBeLessThan(300);
  });
});

describe('a node number', () => {
  it.each([1, 65_535])('is %d', (value) => {
    expect(isNodeNumber(value)).toBe(true);
  });

  it.each([0, -1, 1.5, NaN, Infinity, 65_536, '1', null, undefined])('is not %s', (value) => {
    expect(isNodeNumber(value)).toBe(false);
  });
});
