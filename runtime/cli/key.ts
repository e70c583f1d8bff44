import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeKeyPair, publicKeyOf } from '../wire/curve-key.js';
import { parse } from './arguments.js';
import { CommandError, STATUS, type Run } from './verb.js';

/** A key that is there already is kept, and its line printed again. */
export const run: Run = async (words) => {
  const { positionals } = parse(words, {}, 1);
  const folder = positionals[0] ?? '';
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const path = join(folder, 'key.secret');
  const node = await nodeOf(join(folder, 'skein.conf'));
  process.stdout.write(`${node} ${existsSync(path) ? await existing(path) : await fresh(path)}\n`);
  return STATUS.ok;
};

async function fresh(path: string): Promise<string> {
  const { publicKey, secretKey } = makeKeyPair();
  await writeFile(path, `${secretKey}\n`, { mode: 0o600, flag: 'wx' });
  return publicKey;
}

async function existing(path: string): Promise<string> {
  const text = (await readFile(path, 'utf8')).trim();
  try {
    return publicKeyOf(text);
  } catch (error) {
    throw new CommandError(
      `${path} is ${error instanceof Error ? error.message : String(error)}; remove it to make one`,
    );
  }
}

/** The node's number if its configuration is there already; else N, to be filled in. */
async function nodeOf(configuration: string): Promise<string> {
  if (!existsSync(configuration)) return 'N';
  return /^\s*node\s+(\d+)/m.exec(await readFile(configuration, 'utf8'))?.[1] ?? 'N';
}
