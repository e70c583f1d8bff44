/** What a suite came to. Every suite, of whatever kind, ends as one of these. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0 };

export function add(left: Tally, right: Tally): Tally {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** The closing line that people and CI read. */
export function closingLine(tally: Tally): string {
  return `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;
}

/** Reads the last closing line in a suite's output; null when there is none. */
export function parseClosingLine(output: string): Tally | null {
  const pattern = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$/gm;
  let last: RegExpMatchArray | null = null;
  for (const match of output.matchAll(pattern)) last = match;
  if (last === null) return null;
  return { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) };
}
