import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { runSuite, type Show } from './suite.js';
import { clusterSuites } from './suites.js';
import { add, NOTHING, type Tally } from './tally.js';

/*
 * The same cluster must work for root and for an ordinary user. When the tests run as root, a part of the
 * cluster suites runs a second time as the user below, from a copy of the checkout that this user may read
 * (the checkout itself may lie under a folder that is closed to others).
 */
const USER = 'skein-test';

/** The suites that run both ways. */
const SUITES = ['runon.test.ts', 'migrate.test.ts', 'updown.test.ts', 'mon.test.ts'];

const NOT_COPIED = new Set(['.git', '.ci', 'docs']);

const execute = promisify(execFile);

export async function runAsOrdinaryUser(root: string, show: Show): Promise<Tally> {
  await ensureUser();
  const folder = await mkdtemp(join(tmpdir(), 'skein-ordinary-'));
  try {
    const copy = join(folder, 'checkout');
    await execute('mkdir', [copy]);
    const names = (await readdir(root))
      .filter((name) => !NOT_COPIED.has(name))
      .map((name) => join(root, name));
    await execute('cp', ['-a', '--reflink=auto', ...names, copy]);
    await execute('chown', ['-R', `${USER}:`, folder]);
    const { uid, gid } = await stat(folder);

    let total = NOTHING;
    for (const suite of await clusterSuites(copy, SUITES)) {
      const asUser = {
        ...suite,
        name: `${suite.name} as ${USER}`,
        owner: { uid, gid },
        command: ['runuser', '-u', USER, '--', ...suite.command],
        environment: {
          HOME: folder,
          USER,
          LOGNAME: USER,
          PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
        },
      };
      total = add(total, await runSuite(asUser, show));
    }
    return total;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function ensureUser(): Promise<void> {
  try {
    await execute('id', [USER]);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 1) throw error;
    await execute('useradd', ['--system', '--no-create-home', '--shell', '/bin/sh', USER]);
  }
}
