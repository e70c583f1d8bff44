/*
 * What the control plane can refuse. `code` is stable and travels; the message says what to do next.
 */

export type ErrorCode =
  | 'bad-request'
  | 'busy'
  | 'config'
  | 'dead-node'
  | 'denied'
  | 'failed'
  | 'lost'
  | 'no-such-task'
  | 'not-running'
  | 'refused'
  | 'stay'
  | 'timeout'
  | 'unknown-node'
  | 'unknown-request';

const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'bad-request',
  'busy',
  'config',
  'dead-node',
  'denied',
  'failed',
  'lost',
  'no-such-task',
  'not-running',
  'refused',
  'stay',
  'timeout',
  'unknown-node',
  'unknown-request',
]);

export class AgentError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    /** Travels with the error: an exit status, reasons, a stage. */
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'AgentError';
  }
}

export function errorCode(text: unknown): ErrorCode {
  return typeof text === 'string' && CODES.has(text) ? (text as ErrorCode) : 'failed';
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
