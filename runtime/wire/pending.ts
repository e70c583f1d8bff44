/*
 * Requests that wait for their answers.
 */
import { AgentError, errorCode } from '../base/errors.js';
import type { LocalMessage } from './codec-local.js';

export interface AskOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Waiting {
  settle(result: LocalMessage | AgentError): void;
}

export class PendingRequests {
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;

  /** `late` is what a request without an answer fails with. */
  constructor(
    private readonly most: number,
    private readonly late: (what: string, timeoutMs: number) => AgentError = noAnswer,
  ) {}

  /** `send` gets the request's number; what it throws is the result. */
  ask(what: string, { timeoutMs, signal }: AskOptions, send: (id: number) => void): Promise<LocalMessage> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(new AgentError('failed', `"${what}" was given up`));
        return;
      }
      if (this.waiting.size >= this.most) {
        reject(new AgentError('busy', 'too many requests at once'));
        return;
      }
      const id = this.nextId++;
      const settle = (result: LocalMessage | AgentError): void => {
        if (!this.waiting.delete(id)) return;
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        if (result instanceof AgentError) reject(result);
        else resolve(result);
      };
      const abort = (): void => settle(new AgentError('failed', `"${what}" was given up`));
      const timer = setTimeout(() => settle(this.late(what, timeoutMs)), timeoutMs);
      signal?.addEventListener('abort', abort, { once: true });
      this.waiting.set(id, { settle });
      try {
        send(id);
      } catch (error) {
        settle(error instanceof AgentError ? error : new AgentError('bad-request', String(error)));
      }
    });
  }

  /** An answer has come; one that nobody waits for any more is passed over. */
  answered(message: LocalMessage): void {
    const waiting = message.re === undefined ? undefined : this.waiting.get(message.re);
    if (waiting === undefined) return;
    if (message.t === 'ok') {
      waiting.settle(message);
      return;
    }
    const said = typeof message['message'] === 'string' ? message['message'] : 'the request failed';
    waiting.settle(new AgentError(errorCode(message['code']), said, withoutEnvelope(message)));
  }

  failAll(error: AgentError): void {
    for (const waiting of [...this.waiting.values()]) waiting.settle(error);
  }
}

function noAnswer(what: string, timeoutMs: number): AgentError {
  return new AgentError('timeout', `no answer to "${what}" in ${timeoutMs / 1000} s`);
}

/** The fields of a message without those of its envelope. */
export function withoutEnvelope(message: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { v: _v, t: _t, id: _id, re: _re, code: _code, message: _message, ...rest } = message;
  return rest;
}

/** The answer to a request that failed. */
export function errorAnswer(id: number, error: unknown): LocalMessage {
  if (error instanceof AgentError)
    return { ...error.details, t: 'error', re: id, code: error.code, message: error.message };
  return {
    t: 'error',
    re: id,
    code: 'failed',
    message: error instanceof Error ? error.message : String(error),
  };
}
