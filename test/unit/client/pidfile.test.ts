import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pidFileLives, readPidFile } from '../../../runtime/client/pidfile.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-pidfile-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(text: string): string {
  const path = join(folder, 'pid');
  writeFileSync(path, text);
  return path;
}

function ownStart(): string {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

describe('a pid file', () => {
  it('is three numbers and blanks', () => {
    expect(readPidFile(fileOf('12 3456 789      \n'))).toEqual({
      pid: 12,
      startTicks: '3456',
      mounts: '789',
    });
    expect(readPidFile(fileOf('12 3456'))).toEqual({ pid: 12, startTicks: '3456', mounts: '0' });
  });

  it.each(['', '12', 'twelve 3456 0', '12 -1 0'])('is not %j', (text) => {
    expect(readPidFile(fileOf(text))).toBeNull();
  });

  it('need not be there', () => {
    expect(readPidFile(join(folder, 'none'))).toBeNull();
    expect(readPidFile(join(fileOf('x'), 'below-a-file'))).toBeNull();
  });

  it('lives as long as the very process it names', () => {
    expect(pidFileLives({ pid: process.pid, startTicks: ownStart(), mounts: '0' })).toBe(true);
    expect(pidFileLives({ pid: process.pid, startTicks: '1', mounts: '0' })).toBe(false);
    expect(pidFileLives({ pid: 2 ** 22 + 1, startTicks: ownStart(), mounts: '0' })).toBe(false);
  });
});
