/*
 * What the agent and skeind say to each other: lines on a socket (docs/protocol.md, section 2).
 */
import type { Duplex } from 'node:stream';
import { AgentError } from '../base/errors.js';
import type { Launch, Log, Started } from './ports.js';

export interface Ending {
  readonly role: 'shepherd' | 'deputy';
  readonly task: string;
  readonly token: string;
  /** How, as a person would say it. */
  readonly how: string;
  /** It ended by itself with status 0. */
  readonly inOrder: boolean;
}

export interface Running {
  readonly role: 'shepherd' | 'deputy';
  readonly task: string;
  readonly token: string;
}

/** Which child of skeind has which token, kept over restarts of the agent. */
export interface Numbers {
  give(token: string, number: number): void;
  tokenOf(number: number): string | undefined;
}

export interface LauncherHandlers {
  readonly ended: (ending: Ending) => void;
  /** skeind has told all about what runs since before this agent. */
  readonly ready: (running: readonly Running[]) => void;
  /** skeind is gone: so must we be. */
  readonly gone: () => void;
}

const LONGEST_LINE = 255;

interface Child extends Running {
  settle: ((error: AgentError | null) => void) | null;
}

export class Launcher implements Launch {
  private readonly children = new Map<number, Child>();
  private nextNumber: number;
  private rest = '';

  /** `firstNumber`: skeind remembers numbers for as long as it lives, over restarts of the agent. */
  constructor(
    private readonly socket: Duplex,
    firstNumber: number,
    private readonly numbers: Numbers,
    private readonly handlers: LauncherHandlers,
    private readonly log: Log,
  ) {
    this.nextNumber = firstNumber;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.heard(text));
    socket.on('error', () => handlers.gone());
    socket.on('close', () => handlers.gone());
  }

  sayReady(): void {
    this.socket.write('ready\n');
  }

  start(role: 'shepherd' | 'deputy', { uid, gid, task, token }: Started): Promise<void> {
    const number = this.nextNumber++;
    return new Promise((resolve, reject) => {
      const settle = (error: AgentError | null): void => {
        if (error === null) resolve();
        else reject(error);
      };
      this.children.set(number, { role, task, token, settle });
      // Before it runs: it may end when there is no agent.
      this.numbers.give(token, number);
      this.socket.write(`start ${number} ${role} ${uid} ${gid} ${task} ${token}\n`);
    });
  }

  private heard(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    if (this.rest.length > LONGEST_LINE) this.rest = '';
    for (const line of lines) this.line(line.split(' '));
  }

  private line(words: readonly string[]): void {
    const [what, second = '', third = '', ...more] = words;
    const number = /^\d{1,15}$/.test(second) ? Number(second) : NaN;
    if (what !== 'ready' && Number.isNaN(number)) {
      this.log.warn(
        { line: words.join(' ').slice(0, LONGEST_LINE) },
        'skeind said something that makes no sense',
      );
      return;
    }
    const child = this.children.get(number);
    switch (what) {
      case 'ready':
        this.handlers.ready([...this.children.values()]);
        return;
      case 'started':
        child?.settle?.(null);
        if (child !== undefined) child.settle = null;
        return;
      case 'failed':
        this.children.delete(number);
        child?.settle?.(new AgentError('failed', `the launcher: ${[third, ...more].join(' ')}`));
        return;
      case 'running': {
        this.nextNumber = Math.max(this.nextNumber, number + 1);
        const token = this.numbers.tokenOf(number);
        // Without a token it is one whose end has been dealt with: skeind tells that to each new agent for a while.
        if ((third === 'shepherd' || third === 'deputy') && more[1] !== undefined && token !== undefined)
          this.children.set(number, { role: third, task: more[1], token, settle: null });
        return;
      }
      case 'ended':
        this.children.delete(number);
        if (child !== undefined) this.ended(child, third, more[0] ?? '');
        return;
      default:
        this.log.warn({ line: words.join(' ') }, 'skeind said something unknown');
    }
  }

  private ended({ role, task, token, settle }: Child, how: string, code: string): void {
    const text = how === 'signal' ? `killed by signal ${code}` : `ended with status ${code}`;
    settle?.(new AgentError('failed', `the ${role} ${text}`));
    this.handlers.ended({ role, task, token, how: text, inOrder: how === 'exit' && code === '0' });
  }
}
