/** One line of the result: a measurement of Skein beside what bounds it or what one would use instead. */
export interface Row {
  readonly what: string;
  readonly skein: string;
  readonly beside: string;
}

export function markdownTable(rows: readonly Row[]): string {
  const header: Row = { what: 'what', skein: 'Skein', beside: 'beside it, in the same run' };
  const columns = (['what', 'skein', 'beside'] as const).map((key) => ({
    key,
    width: Math.max(...[header, ...rows].map((row) => row[key].length)),
  }));
  const line = (row: Row): string =>
    `| ${columns.map(({ key, width }) => row[key].padEnd(width)).join(' | ')} |`;
  const rule = `| ${columns.map(({ width }) => '-'.repeat(width)).join(' | ')} |`;
  return [line(header), rule, ...rows.map(line)].join('\n') + '\n';
}
