/*
 * Walks the stages of one migration. All it does to the world goes through `MoveWorld`.
 */
import { AgentError, messageOf } from '../base/errors.js';
import { FRESH, step, type MigrationEvent, type Step, type Undoable } from './stages.js';

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
  /** The deputy takes its door back, and says whether the target has come through it. */
  settle(): Promise<'source' | 'target'>;
  /** Takes one stage back. */
  undo(stage: Undoable): Promise<void>;
}

export type MoveOutcome =
  /** `sent` is null when the task is there, but its source could not tell how it went. */
  | { readonly moved: true; readonly sent: Fields | null }
  | { readonly moved: false; readonly error: AgentError };

/** `observe` hears of each stage as it begins. */
export async function runMove(world: MoveWorld, observe: (stage: string) => void): Promise<MoveOutcome> {
  let door: Fields = {};
  let sent: Fields | null = null;
  let error: AgentError | null = null;

  const perform = async (next: Step): Promise<MigrationEvent> => {
    observe('undo' in next ? `undo ${next.undo}` : next.do);
    if ('undo' in next) await world.undo(next.undo);
    else if (next.do === 'probe') await world.probe();
    else if (next.do === 'admit') door = await world.admit();
    else if (next.do === 'receive') door = await world.receive(door);
    else if (next.do === 'send') sent = await world.send(door);
    else if (next.do === 'settle') return { type: 'settled', place: await world.settle() };
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
      error ??= problem instanceof AgentError ? problem : new AgentError('failed', messageOf(problem));
    }
    ({ state, next } = step(state, event));
  }
  if (state.failure === null || error === null || state.place === 'target') return { moved: true, sent };
  const { stage, reason } = state.failure;
  const where =
    state.place === 'source' ? 'the task runs on where it was' : '`skein ps` will show where it runs';
  const details = { ...error.details, stage };
  return {
    moved: false,
    error: new AgentError(error.code, `${reason} (at stage "${stage}"; ${where})`, details),
  };
}
