import { describe, expect, it } from 'vitest';
import { answerClient, type ClientWorld } from '../../../runtime/agent/clients.js';
import { AgentError } from '../../../runtime/base/errors.js';

type Asked = [node: number, message: Readonly<Record<string, unknown>>];

function world(changes: Partial<ClientWorld> = {}): { world: ClientWorld; asked: Asked[] } {
  const asked: Asked[] = [];
  return {
    asked,
    world: {
      self: 1,
      nodes: () => [{ node: 1 }],
      board: (node) => ({ row: node }),
      tasks: (asker, all) => Promise.resolve([{ asker, all }]),
      comeBack: () => Promise.resolve(),
      migrate: (task, asker, node) => Promise.resolve({ task, asker, node }),
      why: () => Promise.resolve({ movable: true }),
      kill: (_task, _asker, signo) => Promise.resolve({ signo }),
      wait: () => Promise.resolve({ status: 3 }),
      logs: () => ({ stdout: '/out' }),
      ask: (node, message) => {
        asked.push([node, message]);
        return Promise.resolve({ v: 1, t: 'ok', re: 4, status: 0 });
      },
      ...changes,
    },
  };
}

describe('a question of a client', () => {
  it('about a task of this node is answered here', async () => {
    const { world: here, asked } = world();
    const question = { t: 'migrate', id: 9, task: '1.4', node: 'best' };
    expect(await answerClient(here, 1000, question)).toEqual({ task: '1.4', asker: 1000, node: 'best' });
    expect(await answerClient(here, 1000, { t: 'wait', task: '1.4' })).toEqual({ status: 3 });
    expect(asked).toEqual([]);
  });

  it('about another node’s task goes there, with who asks', async () => {
    const { world: here, asked } = world();
    expect(await answerClient(here, 1000, { v: 1, t: 'kill', id: 9, task: '2.4', signo: 15 })).toEqual({
      status: 0,
    });
    expect(asked).toEqual([
      [2, { t: 'client', asker: 1000, request: { t: 'kill', task: '2.4', signo: 15 } }],
    ]);
  });

  it('for an end is asked again for as long as it takes', async () => {
    let answers = 0;
    const { world: here } = world({
      ask: () => Promise.resolve(++answers < 3 ? { pending: true } : { status: 5 }),
      wait: () => Promise.resolve(null),
    });
    expect(await answerClient(here, 0, { t: 'wait', task: '2.1' })).toEqual({ status: 5 });
    expect(answers).toBe(3);
  });

  it.each([
    [{ t: 'dance' }, 'unknown-request'],
    [{ t: 'why', task: 'seventeen' }, 'bad-request'],
    [{ t: 'why', task: '1.0' }, 'bad-request'],
  ])('%j is refused as %s', async (question, code) => {
    const answer = answerClient(world().world, 0, question);
    await expect(answer).rejects.toBeInstanceOf(AgentError);
    await expect(answer).rejects.toMatchObject({ code });
  });

  it.each([
    { t: 'why' },
    { t: 'node', n: -1 },
    { t: 'kill', task: '1.1', signo: 0 },
    { t: 'kill', task: '1.1', signo: 65 },
    { t: 'migrate', task: '1.1', node: '1,2' },
    { t: 'migrate', task: '1.1', node: 'best', mode: 'post-copy' },
    { t: 'ps', all: 'yes' },
  ])('%j is refused', async (question) => {
    await expect(answerClient(world().world, 0, question)).rejects.toThrow();
  });
});
