/*
 * A migration, as its home's agent sees it: a table of stages and a pure machine that walks it.
 *
 *     probe      ask the host whether the task can move at all                       nothing to undo
 *     admit      the deputy makes keys for the next host                             undo: the deputy drops them
 *     receive    the target starts a shepherd, which opens its door                  undo: it is told to quit
 *     send       the source sends; the target claims the next epoch at the deputy    undo: the source is told to go on
 *
 * The commit is inside `send`, between the target and the deputy, and not ours: whatever we hear or don't, the deputy's
 * epoch says where the task is. So after a failure the machine undoes what was done, last first, and then asks the
 * deputy (`settle`).
 */

export const STAGES = ['probe', 'admit', 'receive', 'send'] as const;
export type Stage = (typeof STAGES)[number];

export type Step =
  | { readonly do: Stage }
  | { readonly undo: Exclude<Stage, 'probe'> }
  | { readonly do: 'settle' }
  | { readonly do: 'done' };

export interface MigrationState {
  /** Stages that are done, in order. */
  readonly done: readonly Stage[];
  /** Why it failed; null: it has not. */
  readonly failure: { readonly stage: Stage; readonly reason: string } | null;
  /** What is still to be undone, next first. */
  readonly undoing: readonly Exclude<Stage, 'probe'>[];
  readonly settled: boolean;
}

export type MigrationEvent =
  | { readonly type: 'begun' }
  | { readonly type: 'succeeded' }
  | { readonly type: 'failed'; readonly reason: string };

export const FRESH: MigrationState = { done: [], failure: null, undoing: [], settled: false };

/** The state after an event, and what to do next. After `do: 'done'` nothing follows. */
export function step(state: MigrationState, event: MigrationEvent): { state: MigrationState; next: Step } {
  if (state.failure === null)
    return event.type === 'failed' ? failed(state, event.reason) : advanced(state, event);
  // While undoing, what fails is passed over: the deputy has the last word anyway.
  const [, ...undoing] = state.undoing;
  if (state.undoing.length > 0) return undo({ ...state, undoing });
  return { state: { ...state, settled: true }, next: { do: 'done' } };
}

function advanced(state: MigrationState, event: MigrationEvent): { state: MigrationState; next: Step } {
  const current = STAGES[state.done.length];
  const done = event.type === 'begun' || current === undefined ? state.done : [...state.done, current];
  const next = STAGES[done.length];
  return { state: { ...state, done }, next: next === undefined ? { do: 'done' } : { do: next } };
}

function failed(state: MigrationState, reason: string): { state: MigrationState; next: Step } {
  const stage = STAGES[state.done.length] ?? 'send';
  // The stage that failed may have been half done: it is undone too.
  const undoing = [...state.done, stage].reverse().filter((one) => one !== 'probe');
  return undo({ ...state, failure: { stage, reason }, undoing });
}

function undo(state: MigrationState): { state: MigrationState; next: Step } {
  const [next] = state.undoing;
  return { state, next: next === undefined ? { do: 'settle' } : { undo: next } };
}
