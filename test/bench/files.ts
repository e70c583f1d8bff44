import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from './cluster.js';
import { median, repeat, timeCommand } from './sample.js';
import type { Ssh } from './ssh.js';
import { NO_SSHD } from './start.js';
import type { Row } from './table.js';

const FILE_BYTES = 1_000_000_000;
const CHUNK_BYTES = 4_000_000;
const TIMES = 5;

/** A file of 1 GB at home: read by a program on another node, and sent through one. */
export async function measureFiles(cluster: Cluster, ssh: Ssh | null): Promise<Row[]> {
  const path = join(cluster.folder, 'big');
  await writeBig(path);
  const throughput = async (command: readonly string[], piped: boolean): Promise<string> => {
    const values = await repeat(TIMES, async () => {
      if (!piped) return timeCommand(command, cluster.environment);
      const file = await open(path);
      try {
        return await timeCommand(command, cluster.environment, file.fd);
      } finally {
        await file.close();
      }
    });
    return `${(FILE_BYTES / 1e6 / (median(values) / 1000)).toFixed(0)} MB/s`;
  };
  try {
    return [
      {
        what: '`runon 2 cat FILE` of 1 GB: home file in, terminal bytes out',
        skein: await throughput(['runon', '2', 'cat', path], false),
        beside:
          ssh === null ? NO_SSHD : `ssh cat FILE ${await throughput(ssh.words(true, `cat ${path}`), false)}`,
      },
      {
        what: '`runon 2 cat < FILE` of 1 GB: in and out through pipes',
        skein: await throughput(['runon', '2', 'cat'], true),
        beside: ssh === null ? NO_SSHD : `ssh cat < FILE ${await throughput(ssh.words(true, 'cat'), true)}`,
      },
      {
        what: '`runon 2 dd if=FILE of=/dev/null bs=1M` of 1 GB: home file in, nothing out',
        skein: await throughput(
          ['runon', '2', 'dd', `if=${path}`, 'of=/dev/null', 'bs=1M', 'status=none'],
          false,
        ),
        beside: '',
      },
    ];
  } finally {
    await rm(path, { force: true });
  }
}

async function writeBig(path: string): Promise<void> {
  const chunk = Buffer.alloc(CHUNK_BYTES, 'as geese fly, each in the lift of the one before\n');
  const file = await open(path, 'w');
  try {
    for (let written = 0; written < FILE_BYTES; written += CHUNK_BYTES) await file.write(chunk);
  } finally {
    await file.close();
  }
}
