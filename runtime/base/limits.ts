/* Sizes and times of the control plane, in one place. */

/** A node that does not answer a short question by then is taken for dead by who asked. */
export const ANSWER_TIMEOUT_MS = 5_000;
/** From asking a host to start a task until its shepherd has been started. */
export const START_TIMEOUT_MS = 10_000;
/** From starting a target shepherd until it is ready to receive. */
export const RECEIVE_TIMEOUT_MS = 30_000;
/** A whole transfer. */
export const SEND_TIMEOUT_MS = 3_600_000;
/** Natives announce each second: silence for so long means that they are gone. */
export const NATIVE_SILENCE_MS = 10_000;
/** By then a program that outlived an agent has said hello to the next one. */
export const COMES_BACK_MS = 3_000;
/** After a start by number or a move by hand the balancer leaves a task alone. */
export const HAND_PLACED_MS = 60_000;
/** Ended tasks are remembered so long. */
export const REMEMBER_ENDED_MS = 24 * 3_600_000;
export const MOST_TASKS = 20_000;
export const MOST_ENDED = 20_000;
export const MOST_LOCAL_PEERS = 4_096;
export const MOST_LOCAL_PEERS_OF_USER = 2_048;
/** Local programs that have said hello and not yet shown who they are. */
export const MOST_UNPROVED = 256;
/** A program may wait for many tasks at once. */
export const MOST_REQUESTS_OF_LOCAL_PEER = 2_000;
export const MOST_REQUESTS = 20_000;
