import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pidFileLives, readPidFile } from '../../client/pidfile.js';
import { nativeProgram } from '../root.js';
import { CommandError } from '../verb.js';
import { nodeFolder } from './folder.js';

const START_TIMEOUT_MS = 60_000;
const MOST_OUTPUT_CHARACTERS = 4_000;
const LOG_LINES = 5;

export function launcherLives(folder: string, node: number): boolean {
  const file = readPidFile(join(nodeFolder(folder, node), 'skeind.pid'));
  return file !== null && pidFileLives(file);
}

/** Starts a node's launcher; resolves when that says that the node serves. */
export async function startNode(folder: string, node: number): Promise<void> {
  const state = nodeFolder(folder, node);
  const child = spawn(nativeProgram('skeind'), ['--daemon', '--config', join(state, 'skein.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: START_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let output = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (piece: string) => (output = (output + piece).slice(0, MOST_OUTPUT_CHARACTERS)));
  const ending = await new Promise<string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve(code === 0 ? null : signal === null ? `status ${code ?? ''}` : signal);
    });
  });
  child.stderr.destroy();
  if (ending === null) return;
  const said = output.trim() === '' ? lastLines(join(state, 'skeind.log')) : output.trim();
  throw new CommandError(`node ${node} did not start (${ending}): ${said}`);
}

function lastLines(path: string): string {
  try {
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    return lines.slice(-LOG_LINES).join('\n');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'it said nothing';
    throw error;
  }
}
