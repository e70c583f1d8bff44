/*
 * `mon [--once] [--json]`: the load of every node, on a screen, as text, or as JSON.
 */
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SkeinError } from '../runtime/client/index.js';
import { feed, once } from './feed.js';
import { pages } from './pages.js';
import { plainText } from './picture.js';

const STATUS = { ok: 0, failed: 1, usage: 2 } as const;
const USAGE = 'usage: mon [--once] [--json]';

async function printOnce(asJson: boolean): Promise<void> {
  const { nodes, atMs } = await once();
  if (asJson) printJson(nodes, atMs);
  else {
    const known = { nodes, takenAtMs: atMs, trouble: null };
    process.stdout.write(`${pages(known, atMs, process.env['COLUMNS']).map(plainText).join('\n\n')}\n`);
  }
}

async function printForever(): Promise<void> {
  const ending = new AbortController();
  process.once('SIGINT', () => ending.abort());
  process.once('SIGTERM', () => ending.abort());
  await feed({ nodes: printJson, trouble: (message) => say(message) }, ending.signal);
}

function printJson(nodes: readonly unknown[], atMs: number): void {
  process.stdout.write(`${JSON.stringify({ atMs, nodes })}\n`);
}

function isScreen(): boolean {
  const term = process.env['TERM'] ?? '';
  return process.stdin.isTTY && process.stdout.isTTY && term !== '' && term !== 'dumb';
}

async function watch(): Promise<number> {
  if (!isScreen()) {
    say('this is no terminal that can be drawn on; `mon --once` prints the picture once');
    return STATUS.failed;
  }
  const { watchOnScreen } = await import('./screen.js');
  await watchOnScreen();
  return STATUS.ok;
}

function say(message: string): void {
  writeSync(2, `mon: ${message}\n`);
}

async function main(words: readonly string[]): Promise<number> {
  let values: { once?: boolean; json?: boolean; help?: boolean };
  try {
    ({ values } = parseArgs({
      args: [...words],
      options: {
        once: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    say(`${error.message.split('. ')[0] ?? error.message}\n${USAGE}`);
    return STATUS.usage;
  }
  if (values.help === true) {
    process.stdout.write(
      `${USAGE}\n  --once  print the picture once, as text\n  --json  a line of JSON each second (with --once: one)\n`,
    );
    return STATUS.ok;
  }
  try {
    if (values.once === true) await printOnce(values.json === true);
    else if (values.json === true) await printForever();
    else return await watch();
    return STATUS.ok;
  } catch (error) {
    if (!(error instanceof SkeinError)) throw error;
    say(error.message);
    return STATUS.failed;
  }
}

// A reader that goes away (`mon --json | head -1`) ends it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') say(`standard output: ${error.message}`);
  process.exit(error.code === 'EPIPE' ? STATUS.ok : STATUS.failed);
});
process.exitCode = await main(process.argv.slice(2));
