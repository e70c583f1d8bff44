import type { Canvas } from './picture.js';

const HELP: readonly string[] = [
  'mon: the load of each node',
  '1.00: one busy thread a CPU',
  '',
  '##### load',
  '????? suspect, not heard of',
  '===== draining, takes no task',
  'DEAD  not there',
  'JOIN  not heard of yet',
  '',
  'arrows, Home, End: scroll',
  'h: this help    q: quit',
];

/** What `h` shows, in a frame in the middle; what has no room is cut off. */
export function drawHelp(canvas: Canvas): void {
  const width = Math.min(canvas.width - 2, Math.max(...HELP.map((line) => line.length)));
  const edge = `+${'-'.repeat(width)}+`;
  const lines = HELP.map((line) => `|${line.slice(0, width).padEnd(width)}|`);
  const top = Math.max(0, Math.floor((canvas.height - lines.length - 2) / 2));
  const left = Math.max(0, Math.floor((canvas.width - width - 2) / 2));
  [edge, ...lines, edge].forEach((line, index) => canvas.write(top + index, left, line));
}
