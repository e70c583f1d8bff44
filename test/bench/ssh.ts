import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, connect, type AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const SSHD = '/usr/sbin/sshd';
const START_LIMIT_MS = 10_000;

/** An ssh server of our own on the loopback, with keys of its own: the thing to compare with. */
export class Ssh {
  private constructor(
    private readonly folder: string,
    private readonly server: ChildProcess,
    private readonly port: number,
  ) {}

  /** Null where there is no sshd to start. */
  static async start(): Promise<Ssh | null> {
    try {
      await access(SSHD);
    } catch {
      return null;
    }
    const folder = await mkdtemp(join(tmpdir(), 'skein-ssh-'));
    const port = await freePort();
    for (const name of ['host', 'user'])
      await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
    await writeFile(join(folder, 'authorized'), await readFile(join(folder, 'user.pub')));
    // sshd wants the folder that it empties its privileges in, when root.
    if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    const settings = {
      ListenAddress: '127.0.0.1',
      HostKey: join(folder, 'host'),
      AuthorizedKeysFile: join(folder, 'authorized'),
      PidFile: 'none',
      StrictModes: 'no',
      UsePAM: 'no',
      PasswordAuthentication: 'no',
      PermitRootLogin: 'prohibit-password',
    };
    const text = Object.entries(settings)
      .map(([key, value]) => `${key} ${value}\n`)
      .join('');
    await writeFile(join(folder, 'sshd_config'), text);
    const words = ['-D', '-e', '-p', String(port), '-f', join(folder, 'sshd_config')];
    const server = spawn(SSHD, words, { stdio: ['ignore', 'ignore', 'ignore'] });
    const ssh = new Ssh(folder, server, port);
    await untilAnswers(port);
    await execute('ssh', ssh.words(true, 'true').slice(1), { timeout: START_LIMIT_MS });
    return ssh;
  }

  /** The command that runs `command` there: cold, or over a connection that stays open. */
  words(master: boolean, command: string): string[] {
    const options: Record<string, string> = {
      BatchMode: 'yes',
      IdentitiesOnly: 'yes',
      StrictHostKeyChecking: 'no',
      UserKnownHostsFile: '/dev/null',
      LogLevel: 'ERROR',
      ...(master ? { ControlMaster: 'auto', ControlPersist: 'yes' } : { ControlMaster: 'no' }),
      ControlPath: master ? join(this.folder, 'master') : 'none',
    };
    const flags = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    const where = `${userInfo().username}@127.0.0.1`;
    return [
      'ssh',
      '-F',
      'none',
      '-p',
      String(this.port),
      '-i',
      join(this.folder, 'user'),
      ...flags,
      where,
      command,
    ];
  }

  async stop(): Promise<void> {
    const master = this.words(true, 'true').slice(1, -1);
    await execute('ssh', ['-O', 'exit', ...master]).catch((error: unknown) => {
      // There may be no master connection, which is as good.
      if (!(error instanceof Error)) throw error;
    });
    this.server.kill('SIGTERM');
    if (this.server.exitCode === null && this.server.signalCode === null) await once(this.server, 'exit');
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilAnswers(port: number): Promise<void> {
  const deadlineMs = Date.now() + START_LIMIT_MS;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (Date.now() > deadlineMs) throw error;
      await pause(50);
    } finally {
      socket.destroy();
    }
  }
}
