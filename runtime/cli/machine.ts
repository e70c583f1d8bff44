/*
 * What on this machine can stand in Skein's way, and the one command that mends each.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { nativeProgram } from './root.js';

export interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly found: string;
  /** The command that mends it. */
  readonly mend: string | null;
}

type Check = () => Finding;

const OLDEST_KERNEL = [6, 7] as const;
const OLDEST_NODE = 20;
const TRY_TIMEOUT_MS = 10_000;

const CHECKS: readonly Check[] = [kernel, node, namespaces, apparmor, procMount, fuse, built];

/** In the order in which to mend them. */
export function findings(): Finding[] {
  return CHECKS.map((check) => check());
}

/** Root's commands are run by root. */
function asRoot(command: string): string {
  return process.getuid?.() === 0 ? command : `sudo ${command}`;
}

function finding(check: string, ok: boolean, found: string, mend: string): Finding {
  return { check, ok, found, mend: ok ? null : mend };
}

function kernel(): Finding {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const ok = major > OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor >= OLDEST_KERNEL[1]);
  return finding(
    'kernel 6.7 or newer',
    ok,
    release(),
    asRoot('apt install -t bookworm-backports linux-image-amd64, and reboot'),
  );
}

function node(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return finding(
    'Node 20 or newer',
    major >= OLDEST_NODE,
    process.version,
    asRoot('apt install nodejs (from nodesource.com)'),
  );
}

function namespaces(): Finding {
  const most = read('/proc/sys/user/max_user_namespaces');
  const clone = read('/proc/sys/kernel/unprivileged_userns_clone');
  const what = 'user namespaces';
  if (most === '0')
    return finding(what, false, 'none allowed', asRoot('sysctl -w user.max_user_namespaces=15000'));
  if (clone === '0' && process.getuid?.() !== 0)
    return finding(what, false, 'for root only', asRoot('sysctl -w kernel.unprivileged_userns_clone=1'));
  return finding(what, true, most ?? 'allowed', '');
}

function apparmor(): Finding {
  const restricted = read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1';
  const applies = restricted && process.getuid?.() !== 0;
  return finding(
    'AppArmor lets programs have user namespaces',
    !applies,
    applies ? 'it restricts them' : 'no restriction',
    asRoot('sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'),
  );
}

/** A container runtime that masks parts of /proc forbids to mount a new one. */
function procMount(): Finding {
  const { status, stderr } = spawnSync(
    'unshare',
    ['--user', '--map-current-user', '--pid', '--fork', '--mount', '--mount-proc', 'true'],
    { timeout: TRY_TIMEOUT_MS, encoding: 'utf8' },
  );
  return finding(
    'a new /proc in a user namespace',
    status === 0,
    status === 0 ? 'can be mounted' : stderr.trim() || 'unshare failed',
    'run outside a container, or with its /proc unmasked (docker run --security-opt systempaths=unconfined)',
  );
}

function fuse(): Finding {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return finding(
      '/dev/fuse',
      false,
      missing ? 'is not there' : 'is closed to this user',
      asRoot(missing ? 'modprobe fuse' : 'chmod 666 /dev/fuse'),
    );
  }
  return finding('/dev/fuse', true, 'open', '');
}

function built(): Finding {
  const missing = ['skeind', 'skein-enter', 'runon', 'shepherd', 'restorer'].filter(
    (name) => !existsSync(nativeProgram(name)),
  );
  return finding(
    'native programs',
    missing.length === 0,
    missing.length === 0 ? 'built' : `${missing.join(', ')} missing`,
    'npm run setup',
  );
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
