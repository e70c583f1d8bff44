/*
 * A real terminal for a test: a program in a tmux window, what is on the screen, and keys typed to it.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const LOOK_AGAIN_MS = 50;
const USUAL_LIMIT_MS = 15_000;

/** Null if there is tmux, else why such a test can't run. */
export function whyNoTerminal(): string | null {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' });
    return null;
  } catch (error) {
    return `tmux is needed: ${error instanceof Error ? error.message : String(error)}`;
  }
}

export interface TerminalOptions {
  readonly width: number;
  readonly height: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export class Terminal {
  private constructor(
    private readonly folder: string,
    /** What a failed wait shows. */
    private last: readonly string[] = [],
  ) {}

  /** A shell that prints `$ ` when it waits. */
  static async open({ width, height, environment, cwd }: TerminalOptions): Promise<Terminal> {
    const terminal = new Terminal(await mkdtemp(join(tmpdir(), 'tmux-')));
    const variables = Object.entries({ PS1: '$ ', ...environment }).map(
      ([name, value]) => `${name}=${value}`,
    );
    await terminal.tmux(
      '-f',
      '/dev/null',
      'new-session',
      '-d',
      '-x',
      String(width),
      '-y',
      String(height),
      ...(cwd === undefined ? [] : ['-c', cwd]),
      'env',
      ...variables,
      'bash',
      '--norc',
      '--noprofile',
    );
    await terminal.waitFor('a shell', (lines) => lines[0] === '$');
    return terminal;
  }

  /** The lines of the screen, without the blanks at their ends. */
  async screen(): Promise<readonly string[]> {
    const { stdout } = await this.tmux('capture-pane', '-p');
    this.last = stdout.split('\n').map((line) => line.trimEnd());
    return this.last;
  }

  /** Keys by their names in tmux (`Enter`, `C-c`, `Left`), or text that is none. */
  async press(...keys: readonly string[]): Promise<void> {
    await this.tmux('send-keys', ...keys);
  }

  /** A line for the shell, on a screen that is clear before it runs. */
  async run(command: string): Promise<void> {
    await this.press('-l', `clear; ${command}`);
    await this.press('Enter');
  }

  async resize(width: number, height: number): Promise<void> {
    await this.tmux('resize-window', '-x', String(width), '-y', String(height));
  }

  /** The first screen that is so; fails with what is there when time is up. */
  async waitFor(
    what: string,
    isSo: (lines: readonly string[]) => boolean,
    limitMs = USUAL_LIMIT_MS,
  ): Promise<readonly string[]> {
    const deadlineMs = Date.now() + limitMs;
    while (Date.now() < deadlineMs) {
      const lines = await this.screen();
      if (isSo(lines)) return lines;
      await pause(LOOK_AGAIN_MS);
    }
    throw new Error(
      `${what} did not appear in ${limitMs / 1000} s; on the screen is:\n${this.last.join('\n')}`,
    );
  }

  /** Whether the cursor is shown. */
  async hasCursor(): Promise<boolean> {
    const { stdout } = await this.tmux('display-message', '-p', '#{cursor_flag}');
    return stdout.trim() === '1';
  }

  async close(): Promise<void> {
    try {
      await this.tmux('kill-server');
    } finally {
      await rm(this.folder, { recursive: true, force: true });
    }
  }

  private tmux(...words: readonly string[]): Promise<{ stdout: string; stderr: string }> {
    return execute('tmux', ['-S', join(this.folder, 'socket'), ...words]);
  }
}
