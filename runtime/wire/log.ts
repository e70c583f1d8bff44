/** Where the parts write; the agent gives them its structured log. */
export interface Log {
  info(fields: Readonly<Record<string, unknown>>, text: string): void;
  warn(fields: Readonly<Record<string, unknown>>, text: string): void;
  error(fields: Readonly<Record<string, unknown>>, text: string): void;
}

/** Of a flood of the same complaint only a few lines a minute are written. */
export function rateLimited(most: number, windowMs: number, nowMs: () => number): () => boolean {
  let windowStartMs = -Infinity;
  let count = 0;
  return () => {
    const now = nowMs();
    if (now - windowStartMs >= windowMs) {
      windowStartMs = now;
      count = 0;
    }
    count++;
    return count <= most;
  };
}
