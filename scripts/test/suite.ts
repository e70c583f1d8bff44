import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endMarked, MARK_VARIABLE } from './leftovers.js';
import { add, NOTHING, type Tally } from './tally.js';

/** One thing to run that ends with a tally. */
export interface Suite {
  readonly name: string;
  readonly command: readonly string[];
  readonly limitMs: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Whom its folder belongs to, when not the user who runs this. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Makes the tally from the output and exit status; null means that the suite did not say. */
  readonly tally: (output: string, folder: string) => Promise<Tally | null> | Tally | null;
}

interface Ending {
  readonly output: string;
  readonly status: number | null;
  readonly timedOut: boolean;
}

/** Whether to show each suite's output as it comes (one alone), or only that of those that fail. */
export type Show = 'all' | 'failed';

/**
 * Runs one suite in a temporary folder of its own and cleans up after it: processes by their mark, files with
 * the folder. What it leaves behind counts as a failure, since a cluster that is down must have left nothing.
 */
export async function runSuite(suite: Suite, show: Show): Promise<Tally> {
  const mark = randomBytes(12).toString('hex');
  const folder = await mkdtemp(join(tmpdir(), 'skein-test-'));
  const startedMs = Date.now();
  try {
    // A suite that root runs may do part of its work as another user.
    await chmod(folder, 0o711);
    if (suite.owner !== undefined) await chown(folder, suite.owner.uid, suite.owner.gid);
    const ending = await run(suite, mark, folder, show);
    const left = await endMarked(mark, ending.timedOut ? 0 : undefined);
    const problems: string[] = [];
    if (ending.timedOut) problems.push(`took longer than its limit of ${suite.limitMs / 1000} s`);
    else if (left.length > 0) {
      problems.push(
        `left ${left.length} running: ${left.map((one) => `${one.pid} ${one.command}`).join('; ')}`,
      );
    }
    let tally = await suite.tally(ending.output, folder);
    if (tally === null) {
      tally = NOTHING;
      if (!ending.timedOut) problems.push(`ended with status ${ending.status ?? 'none'} and no closing line`);
    } else if (ending.status !== 0 && tally.failed === 0 && !ending.timedOut) {
      problems.push(`ended with status ${ending.status ?? 'none'} though no test had failed`);
    }
    if (problems.length > 0) tally = add(tally, { ...NOTHING, failed: 1 });
    report(suite, tally, problems, ending.output, Date.now() - startedMs, show);
    return tally;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function run(suite: Suite, mark: string, folder: string, show: Show): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const [program, ...words] = suite.command;
    if (program === undefined) throw new Error(`suite ${suite.name} has no command`);
    const child = spawn(program, words, {
      cwd: suite.cwd,
      env: {
        ...process.env,
        ...suite.environment,
        NO_COLOR: '1',
        [MARK_VARIABLE]: mark,
        SKEIN_TEST_FOLDER: folder,
        TMPDIR: folder,
      },
      // A session of its own: no terminal of ours reaches the tests, and the group can be ended as one.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const pieces: Buffer[] = [];
    const keep = (piece: Buffer): void => {
      pieces.push(piece);
      if (show === 'all') process.stdout.write(piece);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      // What has left the group may hold the pipes open; its mark finds it.
      void endMarked(mark, 0).catch(reject);
    }, suite.limitMs);
    let status: number | null = null;
    const finish = (): void => {
      clearTimeout(timer);
      clearTimeout(drain);
      resolve({ output: Buffer.concat(pieces).toString('utf8'), status, timedOut });
    };
    let drain: NodeJS.Timeout | undefined;
    child.on('error', reject);
    child.on('exit', (code) => {
      status = code;
      // A process that the suite forgot may keep the pipes open for ever: read on for a moment only.
      drain = setTimeout(finish, 2_000);
    });
    child.on('close', finish);
  });
}

function report(
  suite: Suite,
  tally: Tally,
  problems: readonly string[],
  output: string,
  tookMs: number,
  show: Show,
): void {
  const bad = tally.failed > 0;
  if (show === 'failed' && (bad || tally.skipped > 0)) process.stdout.write(indent(output));
  const counts = `${tally.passed} passed` + (bad ? `, ${tally.failed} failed` : '');
  const skipped = tally.skipped > 0 ? `, ${tally.skipped} skipped` : '';
  console.log(
    `${bad ? 'FAILED' : 'ok    '} ${suite.name.padEnd(36)} ${counts}${skipped} (${(tookMs / 1000).toFixed(1)} s)`,
  );
  for (const problem of problems) console.log(`       ${suite.name} ${problem}`);
}

function indent(output: string): string {
  return output.replace(/^(?=.)/gm, '    ').trimEnd() + '\n';
}
