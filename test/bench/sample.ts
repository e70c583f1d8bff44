import { execFile, spawn, type StdioOptions } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error('no values to take the median of');
  return (upper + lower) / 2;
}

/** `12.3 (11.9 to 14.0)`: the median and the range of what was seen. */
export function spread(values: readonly number[], digits = 1): string {
  const low = Math.min(...values).toFixed(digits);
  const high = Math.max(...values).toFixed(digits);
  return `${median(values).toFixed(digits)} (${low} to ${high})`;
}

export async function repeat(times: number, measure: () => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  for (let count = 0; count < times; count++) values.push(await measure());
  return values;
}

/** Milliseconds that a command takes from start to end, its output thrown away. Its failure is an error. */
export function timeCommand(
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
  stdin?: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const [program, ...words] = command;
    if (program === undefined) throw new Error('no command to time');
    const stdio: StdioOptions = [stdin ?? 'ignore', 'ignore', 'inherit'];
    const startMs = performance.now();
    const child = spawn(program, words, { env: environment, stdio, timeout: 120_000 });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (code === 0) resolve(performance.now() - startMs);
      else reject(new Error(`${command.join(' ')} ended with ${signal ?? `status ${code ?? 'unknown'}`}`));
    });
  });
}

export type WireMode = 'tcp' | 'plain' | 'curve';

/** Milliseconds that this machine's loopback needs for so many bytes, over bare TCP or a pair of ZeroMQ sockets. */
export async function wireMs(program: string, mode: WireMode, bytes: number): Promise<number> {
  const { stdout } = await execute(program, [mode, String(Math.max(1, Math.round(bytes)))], {
    timeout: 120_000,
  });
  return Number(stdout) * 1000;
}
