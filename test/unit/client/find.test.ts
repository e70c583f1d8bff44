import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NoNodeError } from '../../../runtime/client/index.js';
import { findNode } from '../../../runtime/client/find.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-find-'));
  vi.stubEnv('SKEIN_DIR', undefined);
  vi.stubEnv('SKEIN_NODE', undefined);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function put(...path: string[]): void {
  const file = join(folder, ...path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, '');
}

describe('finding a node', () => {
  it('takes a node folder, told by its configuration or its socket', () => {
    put('skein.conf');
    expect(findNode({ dir: folder })).toEqual({ state: folder, cluster: null });
    put('b', 'agent.sock');
    expect(findNode({ dir: join(folder, 'b') })).toEqual({ state: join(folder, 'b'), cluster: null });
  });

  it('takes a node of a cluster folder: the first, or the one that is said', () => {
    put('cluster.json');
    put('1', 'skein.conf');
    put('2', 'skein.conf');
    expect(findNode({ dir: folder })).toEqual({ state: join(folder, '1'), cluster: folder });
    expect(findNode({ dir: folder, node: 2 }).state).toBe(join(folder, '2'));
    vi.stubEnv('SKEIN_NODE', '2');
    expect(findNode({ dir: folder }).state).toBe(join(folder, '2'));
    expect(findNode({ dir: folder, node: 1 }).state).toBe(join(folder, '1'));
  });

  it('looks first where SKEIN_DIR says', () => {
    put('skein.conf');
    vi.stubEnv('SKEIN_DIR', folder);
    expect(findNode().state).toBe(folder);
  });

  it('says what is not there, and what to do', () => {
    expect(() => findNode({ dir: folder })).toThrow(NoNodeError);
    expect(() => findNode({ dir: folder })).toThrow(/neither a node's folder nor a cluster's/);
    expect(() => findNode({ dir: join(folder, 'none') })).toThrow(/skein cluster up 3/);
    put('cluster.json');
    put('1', 'skein.conf');
    expect(() => findNode({ dir: folder, node: 9 })).toThrow(/has no node 9.*skein cluster status/);
  });
});
