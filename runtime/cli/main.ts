/*
 * `skein VERB …`: finds the verb, runs it, turns what goes wrong into one line and an exit status.
 */
import { writeSync } from 'node:fs';
import { CommandError, STATUS, UsageError } from './verb.js';
import { NOT_YET, VERBS, type Verb } from './verbs.js';

const HELP_WORDS = ['help', '--help', '-h'];

function help(): string {
  const width = Math.max(...VERBS.map(({ name }) => name.length));
  const lines = VERBS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `usage: skein VERB …

${lines.join('\n')}

\`skein VERB --help\` says more. Programs are run by \`runon NODE COMMAND…\`; \`mon\` shows the load.
SKEIN_NODE=K before a command types it on node K of a cluster on this machine.
`;
}

function fail(status: number, message: string): number {
  writeSync(2, `${message}\n`);
  return status;
}

function said(error: unknown): string | null {
  if (error instanceof CommandError) return error.message;
  // Loaded with the verbs that talk to an agent; told by its fields so that this file need not load it.
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.message;
  return null;
}

async function runVerb(verb: Verb, words: readonly string[]): Promise<number> {
  const end = words.indexOf('--');
  const own = end < 0 ? words : words.slice(0, end);
  // The words after `cluster exec K` belong to the command.
  if (
    own.slice(0, verb.name === 'cluster' ? 2 : undefined).some((word) => word === '--help' || word === '-h')
  ) {
    process.stdout.write(`usage: skein ${verb.usage}\n       ${verb.summary}\n`);
    return STATUS.ok;
  }
  try {
    const { run } = await verb.load();
    return await run(words);
  } catch (error) {
    if (error instanceof UsageError)
      return fail(STATUS.usage, `skein ${verb.name}: ${error.message}\nusage: skein ${verb.usage}`);
    const message = said(error);
    if (message === null) throw error;
    return fail(verb.name === 'wait' ? STATUS.skeinFailed : STATUS.failed, `skein ${verb.name}: ${message}`);
  }
}

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  if (name === undefined) return fail(STATUS.usage, help().trimEnd());
  if (HELP_WORDS.includes(name)) {
    process.stdout.write(help());
    return STATUS.ok;
  }
  const verb = VERBS.find((one) => one.name === name);
  if (verb !== undefined) return runVerb(verb, rest);
  if (NOT_YET.includes(name)) return fail(STATUS.failed, `skein ${name}: not there yet`);
  return fail(STATUS.usage, `skein: there is no verb "${name}"; \`skein help\` lists them`);
}

// A reader that goes away (`skein ps | head -1`) is no failure worth a stack trace.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') writeSync(2, `skein: standard output: ${error.message}\n`);
  process.exit(STATUS.failed);
});
process.exitCode = await main(process.argv.slice(2));
