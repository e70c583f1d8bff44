/*
 * Names and groups of users, from /etc/passwd.
 */
import { readFileSync } from 'node:fs';

export interface Users {
  name(uid: number): string;
  /** The user's group, or a group of the same number. */
  group(uid: number): number;
}

const MOST_BYTES = 8 << 20;

export function readUsers(path = '/etc/passwd'): Users {
  const users = new Map<number, { name: string; gid: number }>();
  for (const line of readOrNothing(path).slice(0, MOST_BYTES).split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name !== undefined && uid !== undefined && /^\d+$/.test(uid) && !users.has(Number(uid)))
      users.set(Number(uid), { name, gid: Number(gid) || 0 });
  }
  return {
    name: (uid) => users.get(uid)?.name ?? String(uid),
    group: (uid) => {
      if (uid === process.getuid?.()) return process.getgid?.() ?? uid;
      return users.get(uid)?.gid ?? uid;
    },
  };
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
