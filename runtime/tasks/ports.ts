/*
 * What the parts that look after tasks need of the world: other agents, native programs, the launcher, the clock.
 */

export type Fields = Readonly<Record<string, unknown>>;

export interface Ask {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A message: its type and fields. */
export interface Message extends Fields {
  readonly t: string;
}

/** Other nodes' agents, and this one's own under its own number. Errors are AgentErrors. */
export interface Nodes {
  readonly self: number;
  ask(node: number, message: Message, options: Ask): Promise<Fields>;
  tell(node: number, message: Message): void;
}

/** A native program that has said hello. */
export interface Native {
  readonly key: string;
  readonly uid: number;
  readonly pid: number;
  readonly task: string | null;
  readonly token: string | null;
}

export interface Natives {
  ask(native: Native, message: Message, options: Ask): Promise<Fields>;
  tell(native: Native, message: Message): void;
  expectSilence(native: Native, silent: boolean): void;
}

export interface Started {
  readonly uid: number;
  readonly gid: number;
  readonly task: string;
  readonly token: string;
}

export interface Launch {
  /** Resolves when the program has been started. */
  start(role: 'shepherd' | 'deputy', what: Started): Promise<void>;
}

export interface Log {
  info(fields: Fields, text: string): void;
  warn(fields: Fields, text: string): void;
  error(fields: Fields, text: string): void;
}

export interface Clock {
  /** Never goes back. */
  monotonicMs(): number;
  wallMs(): number;
}

/** The keys with which one native program dials another. */
export interface Door extends Fields {
  readonly endpoint: string;
  readonly serverKey: string;
  readonly clientSecret: string;
  readonly clientPublic: string;
}
