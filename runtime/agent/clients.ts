/*
 * What clients ask: commands, mon, programs that import 'skein'.
 *
 * A task's home answers for it. Asked about another node's task, this agent passes the question on, with the number of
 * who asks: users match by number in the whole cluster, and agents trust each other.
 */
import { AgentError } from '../base/errors.js';
import { parseTaskId } from '../base/ids.js';
import { ANSWER_TIMEOUT_MS, SEND_TIMEOUT_MS } from '../base/limits.js';
import { boolean, integer, matching, object, optional, text } from '../base/schema.js';

type Fields = Readonly<Record<string, unknown>>;
interface Message extends Fields {
  readonly t: string;
}

export interface ClientWorld {
  readonly self: number;
  nodes(): Fields[];
  board(node: number): Fields;
  /** Of every node that answers. */
  tasks(asker: number, all: boolean): Promise<Fields[]>;
  /** Waits a moment for a task that an agent which was just restarted does not know of yet. */
  comeBack(task: string): Promise<void>;
  migrate(task: string, asker: number, node: string): Promise<Fields>;
  why(task: string, asker: number): Promise<Fields>;
  kill(task: string, asker: number, signo: number): Promise<Fields>;
  /** Null: not yet. */
  wait(task: string, asker: number, timeoutMs: number): Promise<{ readonly status: number } | null>;
  logs(task: string, asker: number): Fields;
  ask(node: number, message: Message, timeoutMs: number): Promise<Fields>;
}

const readTask = object({ task: text(32) });
const readMigrate = object({
  node: matching(/^(home|best|\d{1,5})$/, 'node (a number, home or best)'),
  mode: optional(text(16), 'pre-copy'),
});
const readKill = object({ signo: integer(1, 64) });
const readPs = object({ all: optional(boolean, false) });
const readNode = object({ n: integer(1, 65_535) });

/** How long one node keeps another's question about an end open. */
const WAIT_STEP_MS = 50_000;

export async function answerClient(world: ClientWorld, asker: number, message: Message): Promise<Fields> {
  switch (message.t) {
    case 'nodes':
      return { nodes: world.nodes() };
    case 'node':
      return world.board(readNode(message, '').n);
    case 'ps':
      return { tasks: await world.tasks(asker, readPs(message, '').all) };
    case 'events':
      return {};
    case 'migrate':
    case 'why':
    case 'kill':
    case 'wait':
    case 'logs':
      return aboutTask(world, asker, message);
    default:
      throw new AgentError('unknown-request', `the agent knows no "${message.t.slice(0, 40)}"`);
  }
}

async function aboutTask(world: ClientWorld, asker: number, message: Message): Promise<Fields> {
  const { task } = readTask(message, '');
  const id = parseTaskId(task);
  if (id === null)
    throw new AgentError('bad-request', `"${task}" is no task: ids are like 1.17 (\`skein ps\`)`);
  const { id: _id, v: _v, ...request } = message;
  const ask = async (): Promise<Fields> => {
    if (id.home === world.self) return answerAtHome(world, asker, message);
    return world.ask(
      id.home,
      { t: 'client', asker, request },
      message.t === 'migrate'
        ? SEND_TIMEOUT_MS
        : message.t === 'wait'
          ? WAIT_STEP_MS + ANSWER_TIMEOUT_MS
          : 2 * ANSWER_TIMEOUT_MS,
    );
  };
  let answer = await ask();
  while (message.t === 'wait' && answer['pending'] === true) answer = await ask();
  return withoutEnvelope(answer);
}

/** At the task's home, for a client here or elsewhere. */
export async function answerAtHome(world: ClientWorld, asker: number, message: Message): Promise<Fields> {
  const { task } = readTask(message, '');
  await world.comeBack(task);
  switch (message.t) {
    case 'migrate': {
      const { node, mode } = readMigrate(message, '');
      if (mode !== 'pre-copy')
        throw new AgentError('refused', `${mode} is not there yet: tasks are moved by pre-copy`);
      return world.migrate(task, asker, node);
    }
    case 'why':
      return world.why(task, asker);
    case 'kill':
      return world.kill(task, asker, readKill(message, '').signo);
    case 'wait': {
      const ended = await world.wait(task, asker, WAIT_STEP_MS);
      return ended ?? { pending: true };
    }
    case 'logs':
      return world.logs(task, asker);
    default:
      throw new AgentError('unknown-request', `nothing about tasks is called "${message.t.slice(0, 40)}"`);
  }
}

function withoutEnvelope(fields: Fields): Fields {
  const { v: _v, t: _t, id: _id, re: _re, ...rest } = fields;
  return rest;
}
