import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Where the C programs of the measurements are built. */
export const programs = join(root, 'dist/test/bench');

/** A three-node cluster of this machine, with a folder of its own, used by its commands as a person would. */
export class Cluster {
  readonly environment: NodeJS.ProcessEnv;

  private constructor(readonly folder: string) {
    this.environment = {
      ...process.env,
      SKEIN_DIR: folder,
      SKEIN_NODE: '1',
      PATH: `${join(root, 'bin')}:${process.env['PATH'] ?? ''}`,
    };
  }

  static async up(): Promise<Cluster> {
    const cluster = new Cluster(await mkdtemp(join(tmpdir(), 'skein-bench-')));
    await cluster.run('skein', 'cluster', 'up', '3', '--dir', cluster.folder);
    return cluster;
  }

  async run(program: string, ...words: string[]): Promise<string> {
    const options = { env: this.environment, timeout: 120_000, maxBuffer: 64 * 1024 * 1024 };
    return (await execute(program, words, options)).stdout;
  }

  async down(): Promise<void> {
    await this.run('skein', 'cluster', 'down');
    await rm(this.folder, { recursive: true, force: true });
  }
}
