/*
 * A program that a test runs: what it has printed so far, what it is given to read, how it ended.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

const USUAL_LIMIT_MS = 60_000;

export interface CommandOptions {
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** What it reads; without it, nothing. */
  readonly input?: string | Buffer;
  /** It reads what the test writes, until `endInput`. */
  readonly typed?: boolean;
  /** When it is killed, and the test fails. */
  readonly limitMs?: number;
}

export interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as it was. */
  readonly bytes: Buffer;
}

export class Command {
  private readonly child: ChildProcess;
  private readonly pieces: Buffer[] = [];
  private errors = '';
  private late = false;
  private readonly watchers = new Set<() => void>();
  /** Rejects when time is up. */
  readonly ended: Promise<Ending>;

  constructor(
    private readonly words: readonly string[],
    options: CommandOptions,
  ) {
    const [program, ...rest] = words;
    if (program === undefined) throw new Error('no command');
    const { input, typed = false, limitMs = USUAL_LIMIT_MS } = options;
    this.child = spawn(program, rest, {
      cwd: options.cwd,
      env: { ...process.env, ...options.environment },
      stdio: [input !== undefined || typed ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (piece: Buffer) => {
      this.pieces.push(piece);
      this.tell();
    });
    this.child.stderr?.on('data', (piece: Buffer) => {
      this.errors += piece.toString();
      this.tell();
    });
    // Who does not read to the end makes writing fail; that it did not is for the test to see.
    this.child.stdin?.on('error', () => this.tell());
    this.ended = this.awaitEnd(limitMs);
    // The test may look at it later than it happens.
    this.ended.catch(() => this.tell());
    if (input !== undefined) this.child.stdin?.end(input);
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.words.join(' ')} did not start`);
    return this.child.pid;
  }

  get stdout(): string {
    return Buffer.concat(this.pieces).toString();
  }

  get stderr(): string {
    return this.errors;
  }

  /** Waits until standard output is so. */
  async waitFor(
    what: string,
    isSo: (stdout: string) => boolean,
    limitMs: number = USUAL_LIMIT_MS,
  ): Promise<void> {
    const deadlineMs = Date.now() + limitMs;
    while (!isSo(this.stdout)) {
      const leftMs = deadlineMs - Date.now();
      if (leftMs <= 0 || this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`${this.words.join(' ')}: ${what} did not come${this.situation()}`);
      await this.news(leftMs);
    }
  }

  write(text: string | Buffer): void {
    this.child.stdin?.write(text);
  }

  endInput(): void {
    this.child.stdin?.end();
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  private tell(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  private news(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.watchers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, limitMs);
      this.watchers.add(done);
    });
  }

  private async awaitEnd(limitMs: number): Promise<Ending> {
    const timer = setTimeout(() => {
      this.late = true;
      this.child.kill('SIGKILL');
      // What it has started may hold these open.
      this.child.stdout?.destroy();
      this.child.stderr?.destroy();
    }, limitMs);
    try {
      await once(this.child, 'close');
    } finally {
      clearTimeout(timer);
      this.tell();
    }
    if (this.late)
      throw new Error(`${this.words.join(' ')}: did not end in ${limitMs / 1000} s${this.situation()}`);
    const bytes = Buffer.concat(this.pieces);
    const { exitCode: status, signalCode: signal } = this.child;
    return { status, signal, stdout: bytes.toString(), stderr: this.errors, bytes };
  }

  private situation(): string {
    const { exitCode, signalCode } = this.child;
    const end = exitCode !== null || signalCode !== null ? ` (ended: ${exitCode ?? signalCode})` : '';
    return `${end}\nstdout: ${this.stdout.slice(-2_000)}\nstderr: ${this.errors.slice(-2_000)}`;
  }
}
