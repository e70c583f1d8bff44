/*
 * Files that local programs make on request to show which user they are.
 *
 * Theory of operation. Only the kernel says whose a new file is. But a file can be linked here, or moved here out of a
 * folder of the one who moves it, and keeps its owner then. So the name is a secret made for one program, and the file
 * must be what only its own maker has just made: empty, closed to others, with one link, made and written since.
 */
import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, messageOf } from '../base/errors.js';

export interface AskedProof {
  readonly path: string;
  readonly askedMs: number;
}

/** Anyone may make files in it, nobody remove those of others. */
const MODE = 0o1777;
/** File systems note times by a coarser clock. */
const CLOCK_SLACK_MS = 1_000;

export class ProofFolder {
  constructor(
    private readonly path: string,
    private readonly wallMs: () => number,
  ) {}

  /** Makes it, and removes what was left there. @throws when it can't be made. */
  async prepare(): Promise<void> {
    await mkdir(this.path, { recursive: true });
    await chmod(this.path, MODE);
    for (const name of await readdir(this.path)) await this.remove(join(this.path, name));
  }

  ask(): AskedProof {
    return { path: join(this.path, randomBytes(16).toString('hex')), askedMs: this.wallMs() };
  }

  /** @throws AgentError `denied` when the file does not show that its maker is `uid`. */
  async check(proof: AskedProof, uid: number): Promise<void> {
    let stats: Stats;
    try {
      stats = await lstat(proof.path);
    } catch (error) {
      throw new AgentError('denied', `no proof: ${messageOf(error)}`, {}, { cause: error });
    }
    await this.remove(proof.path);
    const problem = judge(stats, uid, proof.askedMs - CLOCK_SLACK_MS);
    if (problem !== null) throw new AgentError('denied', `the file that proves who you are ${problem}`);
  }

  /** What can't be removed (a folder that someone made here) does no harm. */
  private async remove(path: string): Promise<void> {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

function judge(stats: Stats, uid: number, sinceMs: number): string | null {
  if (!stats.isFile()) return 'is no file';
  if (stats.uid !== uid) return `belongs to uid ${stats.uid}, not ${uid}`;
  if (stats.nlink !== 1) return 'has other names';
  if (stats.size !== 0) return 'is not empty';
  if ((stats.mode & 0o077) !== 0) return 'is open to others';
  // Where the file system does not keep the time of birth, 0 or the time of change comes in its place.
  const isOld = stats.mtimeMs < sinceMs || (stats.birthtimeMs > 0 && stats.birthtimeMs < sinceMs);
  return isOld ? 'is older than the question' : null;
}
