/*
 * Walks the stages of one migration. All it does to the world goes through `MoveWorld`.
 */
import { AgentError, messageOf } from '../base/errors.js';
import { FRESH, step, type MigrationEvent, type Stage, type Step } from './stages.js';

type Fields = Readonly<Record<string, unknown>>;

/** What a move does to the world; each rejects with an AgentError. */
export interface MoveWorld {
  /** Asks the host whether the task can move. */
  probe(): Promise<void>;
  /** The deputy's door for the next host. */
  admit(): Promise<Fields>;
  /** Starts the target's shepherd with that door; resolves with its own. */
  receive(deputy: Fields): Promise<Fields>;
  /** The source sends to that door; resolves when the task runs at the target. */
  send(target: Fields): Promise<Fields>;
  /** Takes one stage back. */
  undo(stage: Exclude<Stage, 'probe'>): Promise<void>;
  /** Whether the deputy's epoch went up all the same: then the task is at the target. */
  settle(): Promise<boolean>;
}

export type MoveOutcome =
  | { readonly moved: true; readonly sent: Fields | null }
  | { readonly moved: false; readonly error: AgentError };

/** `observe` hears of each stage as it begins. */
export async function runMove(world: MoveWorld, observe: (stage: string) => void): Promise<MoveOutcome> {
  let door: Fields = {};
  let sent: Fields | null = null;
  const found: { error: AgentError | null; isThere: boolean } = { error: null, isThere: false };

  const perform = async (next: Step): Promise<MigrationEvent> => {
    observe('undo' in next ? `undo ${next.undo}` : next.do);
    if ('undo' in next) await world.undo(next.undo);
    else if (next.do === 'probe') await world.probe();
    else if (next.do === 'admit') door = await world.admit();
    else if (next.do === 'receive') door = await world.receive(door);
    else if (next.do === 'send') sent = await world.send(door);
    else if (next.do === 'settle') found.isThere = await world.settle();
    return { type: 'succeeded' };
  };

  let { state, next } = step(FRESH, { type: 'begun' });
  while (!('do' in next) || next.do !== 'done') {
    let event: MigrationEvent;
    try {
      event = await perform(next);
    } catch (problem) {
      event = { type: 'failed', reason: messageOf(problem) };
      // The first is the cause; what fails while it is undone is not.
      found.error ??= problem instanceof AgentError ? problem : new AgentError('failed', messageOf(problem));
    }
    ({ state, next } = step(state, event));
  }
  const { error, isThere } = found;
  if (state.failure === null || error === null || isThere) return { moved: true, sent };
  const { stage, reason } = state.failure;
  return {
    moved: false,
    error: new AgentError(error.code, `${reason} (at stage "${stage}"; the task runs on where it was)`, {
      ...error.details,
      stage,
    }),
  };
}
