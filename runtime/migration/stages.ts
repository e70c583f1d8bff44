/*
 * A migration, as its home's agent sees it: a table of stages and a pure machine that walks it.
 *
 *     probe      ask the host whether the task can move at all                       nothing to undo
 *     admit      the deputy makes keys for the next host                             undone by settle
 *     receive    the target starts a shepherd, which opens its door                  undo: it is told to quit
 *     send       the source sends; the target claims the next epoch at the deputy    undo: the source is told to go on
 *
 * The commit is inside `send`, between the target and the deputy, and not ours: whatever we hear or don't, the deputy's
 * epoch says where the task is. So what follows a failure is `settle`: the deputy takes the candidate's keys back, which
 * makes a later claim impossible, and says the epoch that it is at.
 *
 *     the new one     the task is at the target: nothing is undone, or it would be lost
 *     the old one     what was done is undone, last first
 *     no answer       only the source is told to go on, which is safe always, since it asks the deputy itself. The target
 *                     may have the task, so it is left alone: without one it ends by itself when the source is silent
 */

export const STAGES = ['probe', 'admit', 'receive', 'send'] as const;
export type Stage = (typeof STAGES)[number];
export type Undoable = 'receive' | 'send';

export type Step =
  { readonly do: Stage } | { readonly do: 'settle' } | { readonly undo: Undoable } | { readonly do: 'done' };

export interface MigrationState {
  /** Stages that are done, in order. */
  readonly done: readonly Stage[];
  /** Why it failed; null: it has not. */
  readonly failure: { readonly stage: Stage; readonly reason: string } | null;
  /** Where the deputy says that the task is. */
  readonly place: 'not asked' | 'source' | 'target' | 'unknown';
  /** What is still to be undone, next first. */
  readonly undoing: readonly Undoable[];
}

export type MigrationEvent =
  | { readonly type: 'begun' }
  | { readonly type: 'succeeded' }
  | { readonly type: 'failed'; readonly reason: string }
  /** The answer to `settle`. */
  | { readonly type: 'settled'; readonly place: 'source' | 'target' };

export const FRESH: MigrationState = { done: [], failure: null, place: 'not asked', undoing: [] };

export interface Progress {
  readonly state: MigrationState;
  readonly next: Step;
}

/** The state after an event, and what to do next. After `do: 'done'` nothing follows. */
export function step(state: MigrationState, event: MigrationEvent): Progress {
  if (state.failure === null)
    return event.type === 'failed' ? failed(state, event.reason) : advanced(state, event);
  if (state.place === 'not asked') return settled(state, state.failure.stage, event);
  // What fails while undoing is passed over: the task is safe where it is.
  return undo({ ...state, undoing: state.undoing.slice(1) });
}

function advanced(state: MigrationState, event: MigrationEvent): Progress {
  const current = STAGES[state.done.length];
  const done = event.type === 'begun' || current === undefined ? state.done : [...state.done, current];
  const next = STAGES[done.length];
  return { state: { ...state, done }, next: next === undefined ? { do: 'done' } : { do: next } };
}

function failed(state: MigrationState, reason: string): Progress {
  const stage = STAGES[state.done.length] ?? 'send';
  const after = { ...state, failure: { stage, reason } };
  // Nothing has been done yet.
  if (stage === 'probe') return { state: { ...after, place: 'source' }, next: { do: 'done' } };
  return { state: after, next: { do: 'settle' } };
}

function settled(state: MigrationState, stage: Stage, event: MigrationEvent): Progress {
  const place = event.type === 'settled' ? event.place : 'unknown';
  // The stage that failed may have been half done: it is undone too.
  const begun = STAGES.slice(0, STAGES.indexOf(stage) + 1);
  const undoing = begun
    .filter((one): one is Undoable => one === 'send' || (one === 'receive' && place === 'source'))
    .reverse();
  return undo({ ...state, place, undoing: place === 'target' ? [] : undoing });
}

function undo(state: MigrationState): Progress {
  const [next] = state.undoing;
  return { state, next: next === undefined ? { do: 'done' } : { undo: next } };
}
