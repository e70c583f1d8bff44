/** A wait status (waitpid's) as a shell gives it. */
export function shellStatus(waitStatus: number): number {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}

/** A calendar time as ISO 8601. */
export function wallSeconds(ms: number): string {
  return new Date(ms).toISOString();
}

/** An argument vector as one line. */
export function commandLine(words: readonly Buffer[], longest: number): string {
  return words
    .map((word) => word.toString('utf8'))
    .join(' ')
    .replace(/\p{Cc}/gu, ' ')
    .slice(0, longest);
}
