import { describe, expect, it } from 'vitest';
import { BadAnswerError } from '../../../runtime/client/index.js';
import {
  clean,
  readLogs,
  readMove,
  readNodes,
  readStatus,
  readTasks,
  readWhy,
} from '../../../runtime/client/answers.js';

const NODE = {
  node: 1,
  address: '127.0.0.1',
  state: 'alive',
  load: 0.5,
  speed: 1,
  cpus: 2,
  memoryTotal: 8e9,
  memoryFree: 4e9,
  tasks: 1,
  ageMs: 400,
};

const TASK = {
  task: '1.17',
  pid: 2,
  home: 1,
  host: 2,
  state: 'running',
  user: 'ann',
  command: 'true',
  cpuSeconds: 1.5,
  residentBytes: 4096,
  moves: 1,
  epoch: 2,
};

const MOVE = {
  task: '1.17',
  from: 2,
  to: 3,
  mode: 'pre-copy',
  rounds: 2,
  bytesTotal: 9,
  bytesFrozen: 1,
  downtimeMs: 5,
  totalMs: 50,
};

describe('answers', () => {
  it('about nodes', () => {
    expect(readNodes({ nodes: [NODE] })).toEqual([NODE]);
    expect(readNodes({ nodes: [] })).toEqual([]);
    expect(readNodes({ nodes: [{ ...NODE, ageMs: null }] })[0]?.ageMs).toBeNull();
    expect(readNodes({ nodes: [{ ...NODE, ageMs: undefined }] })[0]?.ageMs).toBeNull();
  });

  it('about tasks, with what a newer agent says besides', () => {
    expect(readTasks({ tasks: [{ ...TASK, shine: 'bright' }] })).toEqual([{ ...TASK, shine: 'bright' }]);
  });

  it('with bytes for text and large integers for numbers', () => {
    const task = { ...TASK, command: Buffer.from('ls -l'), residentBytes: 2n ** 40n };
    expect(readTasks({ tasks: [task] })[0]).toMatchObject({ command: 'ls -l', residentBytes: 2 ** 40 });
  });

  it('about moves, statuses, logs and reasons', () => {
    expect(readMove({ ...MOVE, v: 1, t: 'ok', re: 1 })).toEqual(MOVE);
    expect(readStatus({ status: 7 })).toBe(7);
    expect(readLogs({ stdout: '/a', stderr: '/b', ended: false })).toEqual({
      stdout: '/a',
      stderr: '/b',
      ended: false,
    });
    const reasons = [{ pid: 2, kind: 'socket', detail: 'fd 3' }];
    expect(readWhy({ movable: false, reasons })).toEqual({ movable: false, reasons, lastDecision: null });
  });

  it('without their envelope', () => {
    expect(clean({ v: 1, t: 'ok', id: 1, re: 2, status: 0 })).toEqual({ status: 0 });
  });
});

describe('answers that do not fit', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['no list', () => readNodes({}), /nodes = nothing/],
    ['a list of something else', () => readNodes({ nodes: [1] }), /nodes = \[1\]/],
    ['no number', () => readNodes({ nodes: [{ ...NODE, load: 'high' }] }), /load = "high"/],
    ['no finite number', () => readNodes({ nodes: [{ ...NODE, load: Infinity }] }), /load/],
    ['an unknown state', () => readNodes({ nodes: [{ ...NODE, state: 'merry' }] }), /state = "merry"/],
    ['no text', () => readTasks({ tasks: [{ ...TASK, user: 5 }] }), /user = 5/],
    ['no truth value', () => readLogs({ stdout: '', stderr: '', ended: 'yes' }), /ended = "yes"/],
    ['a field that is missing', () => readMove({ ...MOVE, to: undefined }), /to = nothing/],
    ['a very long one', () => readStatus({ status: 'x'.repeat(5_000) }), /^.{0,200}$/],
  ])('%s', (_name, read, message) => {
    expect(read).toThrow(BadAnswerError);
    expect(read).toThrow(message);
  });
});
