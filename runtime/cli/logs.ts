import { once } from 'node:events';
import { watch } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { Cluster } from '../client/index.js';
import { parse, taskId } from './arguments.js';
import { withCluster } from './session.js';
import { CommandError, STATUS, type Run } from './verb.js';

/** In case the file system tells of no change. */
const LOOK_AGAIN_MS = 1_000;
const PIECE_BYTES = 1 << 16;

/** Standard output on standard output, standard error on standard error. */
export const run: Run = async (words) => {
  const { values, positionals } = parse(words, { follow: { type: 'boolean', short: 'f' } }, 1);
  const task = taskId(positionals[0]);
  await withCluster(async (cluster) => {
    const { stdout, stderr, ended } = await cluster.logs(task);
    const end = values.follow === true && !ended ? new TaskEnd(cluster, task) : null;
    await Promise.all([copy(stdout, process.stdout, end), copy(stderr, process.stderr, end)]);
    end?.check();
  });
  return STATUS.ok;
};

/** Tells when the task has ended. */
class TaskEnd {
  readonly controller = new AbortController();
  private failure: unknown = null;

  constructor(cluster: Cluster, task: string) {
    cluster.wait(task).then(
      () => this.controller.abort(),
      (error: unknown) => {
        this.failure = error;
        this.controller.abort();
      },
    );
  }

  check(): void {
    if (this.failure instanceof Error) throw this.failure;
  }
}

async function copy(path: string, target: Writable, end: TaskEnd | null): Promise<void> {
  const file = await openLog(path);
  try {
    await copyRest(file, target);
    while (end !== null && !end.controller.signal.aborted) {
      await change(path, end.controller.signal);
      await copyRest(file, target);
    }
  } finally {
    await file.close();
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CommandError(
      code === 'ENOENT'
        ? `${path} is not there: the output is on the task's home`
        : `cannot read it: ${message}`,
    );
  }
}

async function copyRest(file: FileHandle, target: Writable): Promise<void> {
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(PIECE_BYTES), 0, PIECE_BYTES, null);
    if (bytesRead === 0) return;
    if (!target.write(buffer.subarray(0, bytesRead))) await once(target, 'drain');
  }
}

/** Resolves when the file may have changed or the signal came. */
function change(path: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const watcher = watch(path);
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      watcher.close();
      resolve();
    };
    const timer = setTimeout(done, LOOK_AGAIN_MS);
    signal.addEventListener('abort', done, { once: true });
    watcher.once('change', done);
    watcher.once('error', done);
  });
}
