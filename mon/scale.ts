/** Never falls below this, so that an idle cluster looks idle. */
export const LOWEST_TOP = 1;

const STEPS = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

/** The load at the top of the scale: the least round number that the highest bar fits under. */
export function scaleTop(highest: number): number {
  if (!(highest > LOWEST_TOP)) return LOWEST_TOP;
  const magnitude = 10 ** Math.floor(Math.log10(highest));
  const step = STEPS.find((one) => one * magnitude >= highest - 1e-9) ?? 10;
  return step * magnitude;
}

/** At most five characters for any load that a machine can have. */
export function loadText(load: number): string {
  if (load < 99.995) return load.toFixed(2);
  return load < 99_999.5 ? load.toFixed(0) : '>99k';
}

export interface ScaleMark {
  /** Rows above the axis, from 1. */
  readonly row: number;
  readonly load: number;
}

/** Where numbers stand beside the scale: the top, and as many even parts as there is room for. */
export function scaleMarks(top: number, rows: number): ScaleMark[] {
  const parts = rows >= 16 ? 4 : rows >= 6 ? 2 : 1;
  return Array.from({ length: parts }, (_, index) => {
    const share = (index + 1) / parts;
    return { row: Math.max(1, Math.round(share * rows)), load: share * top };
  });
}

/** How many rows a bar of this load fills. */
export function barRows(load: number, top: number, rows: number): number {
  return Math.min(rows, Math.max(0, Math.round((load / top) * rows)));
}
