/* The clocks. What decides gets the time as an argument. */

/** Never goes back; from an arbitrary start. */
export function monotonicMs(): number {
  return performance.now();
}

/** Of the calendar. */
export function wallMs(): number {
  return Date.now();
}
