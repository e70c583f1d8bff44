import { columnsFor, draw, type Known } from './model.js';
import type { Picture } from './picture.js';

const USUAL_WIDTH = 80;
const WIDTHS = { least: 20, most: 500 } as const;
const HEIGHT = 16;

/** The whole picture for paper, where nothing scrolls: as many pictures as it takes, one below the other. */
export function pages(known: Known, nowMs: number, columns: string | undefined): Picture[] {
  const width = widthOf(columns);
  const perPage = columnsFor(known.nodes, width);
  const nodes = [...known.nodes].sort((one, other) => one.node - other.node);
  const scrolls = Array.from(
    { length: Math.max(1, Math.ceil(nodes.length / perPage)) },
    (_, page) => page * perPage,
  );
  return scrolls.map((scroll) =>
    draw({ ...known, nodes }, nowMs, { width, height: HEIGHT, scroll, keys: false, help: false }),
  );
}

function widthOf(columns: string | undefined): number {
  const width = /^\d{1,5}$/.test(columns ?? '') ? Number(columns) : USUAL_WIDTH;
  return Math.min(WIDTHS.most, Math.max(WIDTHS.least, width));
}
