/** Columns that line up: text to the left, numbers to the right. */
export function table(
  heads: readonly { readonly name: string; readonly right?: boolean }[],
  rows: readonly (readonly string[])[],
): string {
  const widths = heads.map(({ name }, column) =>
    Math.max(name.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    heads
      .map(({ right }, column) => {
        const cell = cells[column] ?? '';
        const width = widths[column] ?? 0;
        return right === true ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(heads.map(({ name }) => name)), ...rows.map(line)].join('\n') + '\n';
}

/** 1536 → "1.5 KB". */
export function bytes(value: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let rest = value;
  let unit = 0;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${rest.toFixed(unit > 0 && rest < 9.95 ? 1 : 0)} ${units[unit] ?? ''}`;
}

/** "1.2 s", "35 s", "2:05", "1:02:05". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0'));
  const hours = Math.floor(whole / 3600);
  return hours > 0 ? `${hours}:${parts.join(':')}` : parts.join(':').replace(/^0/, '');
}

/** What others chose must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
