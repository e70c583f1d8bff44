import { describe, expect, it } from 'vitest';
import { AgentError } from '../../../runtime/base/errors.js';
import { runMove, type MoveWorld } from '../../../runtime/migration/run.js';

const sent = { rounds: 2, bytesTotal: 10 };

function world(changes: Partial<MoveWorld> = {}): MoveWorld {
  return {
    probe: () => Promise.resolve(),
    admit: () => Promise.resolve({ door: 'deputy' }),
    receive: (door) => Promise.resolve({ door: 'target', through: door }),
    send: (door) => Promise.resolve({ ...sent, to: door['door'] }),
    settle: () => Promise.resolve('source'),
    undo: () => Promise.resolve(),
    ...changes,
  };
}

async function run(changes: Partial<MoveWorld> = {}): ReturnType<typeof outcomeAndStages> {
  return outcomeAndStages(world(changes));
}

async function outcomeAndStages(
  one: MoveWorld,
): Promise<{ outcome: Awaited<ReturnType<typeof runMove>>; stages: string[] }> {
  const stages: string[] = [];
  const outcome = await runMove(one, (stage) => stages.push(stage));
  return { outcome, stages };
}

describe('one move', () => {
  it('hands each door to who is to go through it', async () => {
    const { outcome, stages } = await run();
    expect(outcome).toEqual({ moved: true, sent: { ...sent, to: 'target' } });
    expect(stages).toEqual(['probe', 'admit', 'receive', 'send']);
  });

  it('that can not begin keeps its code and its reasons', async () => {
    const reasons = [{ pid: 2, kind: 'socket', detail: 'a socket' }];
    const probe = (): Promise<void> => Promise.reject(new AgentError('stay', 'it has a socket', { reasons }));
    const { outcome, stages } = await run({ probe });
    expect(stages).toEqual(['probe']);
    expect(outcome).toMatchObject({
      moved: false,
      error: { code: 'stay', details: { reasons, stage: 'probe' } },
    });
  });

  it('that fails says at which stage, and that the task runs on', async () => {
    const send = (): Promise<never> => Promise.reject(new AgentError('failed', 'the wire is cut'));
    const { outcome, stages } = await run({ send });
    expect(stages).toEqual(['probe', 'admit', 'receive', 'send', 'settle', 'undo send', 'undo receive']);
    expect(outcome).toMatchObject({
      moved: false,
      error: { message: 'the wire is cut (at stage "send"; the task runs on where it was)' },
    });
  });

  it('whose source went silent after the claim has been made all the same', async () => {
    const send = (): Promise<never> => Promise.reject(new AgentError('dead-node', 'node 2 went away'));
    const { outcome, stages } = await run({ send, settle: () => Promise.resolve('target') });
    expect(outcome).toEqual({ moved: true, sent: null });
    expect(stages.slice(-2)).toEqual(['send', 'settle']);
  });

  it('is reported as open when the deputy does not answer', async () => {
    const dead = (): Promise<never> => Promise.reject(new Error('silence'));
    const { outcome } = await run({ send: dead, settle: dead });
    expect(outcome).toMatchObject({
      moved: false,
      error: { code: 'failed', message: 'silence (at stage "send"; `skein ps` will show where it runs)' },
    });
  });
});
