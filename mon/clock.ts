/** The time of day; the one place where mon asks for it. */
export function nowMs(): number {
  return Date.now();
}
