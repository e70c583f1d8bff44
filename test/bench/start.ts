import type { Cluster } from './cluster.js';
import { repeat, spread, timeCommand } from './sample.js';
import type { Ssh } from './ssh.js';
import type { Row } from './table.js';

const TIMES = 21;

/** What it costs to start a program on another node. */
export async function measureStart(cluster: Cluster, ssh: Ssh | null): Promise<Row[]> {
  const time = (command: readonly string[]): Promise<number[]> =>
    repeat(TIMES, () => timeCommand(command, cluster.environment));
  const runon = await time(['runon', '2', 'true']);
  const shell = await time(['runon', '2', 'sh', '-c', 'ls / >/dev/null']);
  let beside = NO_SSHD;
  let besideShell = NO_SSHD;
  if (ssh !== null) {
    const cold = await time(ssh.words(false, 'true'));
    const open = await time(ssh.words(true, 'true'));
    const openShell = await time(ssh.words(true, "sh -c 'ls / >/dev/null'"));
    beside = `ssh cold ${spread(cold)} ms, over an open connection ${spread(open)} ms`;
    besideShell = `ssh over an open connection ${spread(openShell)} ms`;
  }
  return [
    { what: '`runon 2 true`', skein: `${spread(runon)} ms`, beside },
    { what: '`runon 2 sh -c "ls /"`', skein: `${spread(shell)} ms`, beside: besideShell },
  ];
}

export const NO_SSHD = 'no sshd on this machine (package openssh-server)';
