/* The surroundings of one agent's parts, in memory: what they say is kept, what they ask is answered by the test. */
import type {
  Clock,
  Fields,
  Launch,
  Log,
  Message,
  Native,
  Natives,
  Nodes,
  Started,
} from '../../../runtime/tasks/ports.js';

export const DOOR = {
  endpoint: 'tcp://127.0.0.1:4000',
  serverKey: 'a'.repeat(40),
  clientSecret: 'b'.repeat(40),
  clientPublic: 'c'.repeat(40),
};

export class HandClock implements Clock {
  nowMs = 1_000_000;

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return 1_800_000_000_000 + this.nowMs;
  }
}

export interface Said {
  readonly to: number | string;
  readonly message: Message;
}

type Answer = (message: Message) => Fields | Promise<Fields>;

export class World {
  readonly clock = new HandClock();
  readonly told: Said[] = [];
  readonly asked: Said[] = [];
  readonly started: (Started & { readonly role: string })[] = [];
  readonly events: Fields[] = [];
  readonly problems: string[] = [];
  readonly silent = new Map<string, boolean>();
  private readonly answers = new Map<string, Answer>();

  readonly nodes: Nodes;
  readonly natives: Natives;
  readonly launch: Launch;
  readonly log: Log;

  constructor(self: number) {
    this.nodes = {
      self,
      ask: (to, message) => this.ask(to, message),
      tell: (to, message) => void this.told.push({ to, message }),
    };
    this.natives = {
      ask: (native, message) => this.ask(native.key, message),
      tell: (native, message) => void this.told.push({ to: native.key, message }),
      expectSilence: (native, silent) => void this.silent.set(native.key, silent),
    };
    this.launch = {
      start: async (role, what) => {
        this.started.push({ ...what, role });
        await this.answers.get('launch')?.({ t: 'launch' });
      },
    };
    const keep = (fields: Fields, text: string): void =>
      void this.problems.push(`${text} ${JSON.stringify(fields)}`);
    this.log = { info: () => undefined, warn: keep, error: keep };
  }

  /** From now on such requests are answered so; others with {}. */
  answer(type: string, answer: Answer): void {
    this.answers.set(type, answer);
  }

  tellings(type: string): Said[] {
    return this.told.filter(({ message }) => message.t === type);
  }

  readonly event = (fields: Fields): void => void this.events.push(fields);

  private async ask(to: number | string, message: Message): Promise<Fields> {
    this.asked.push({ to, message });
    return (await this.answers.get(message.t)?.(message)) ?? {};
  }
}

export function native(fields: Partial<Native> = {}): Native {
  return { key: 'deputy', uid: 1000, pid: 10, task: null, token: null, ...fields };
}
