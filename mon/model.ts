/*
 * What mon shows, as a pure function of what is known, the time and the size of the screen:
 *
 *      1.00 |        ######
 *           |  0.52  ######     D        one column a node; the scale's top is 1.00 or more
 *      0.50 |  ####  ######     E
 *           |  ####  ######     A
 *           |  ####  ######     D
 *           +------------------------
 *      Node     1      2        3
 *      Nodes 3  Live 2  information 0.4 s old
 */
import type { NodeInfo } from '../runtime/client/index.js';
import { drawHelp } from './help.js';
import { Canvas, type Picture, type Tone } from './picture.js';
import { barRows, loadText, scaleMarks, scaleTop } from './scale.js';

/** What the feed knows. */
export interface Known {
  readonly nodes: readonly NodeInfo[];
  /** When the agent said so; null: it has not yet. */
  readonly takenAtMs: number | null;
  /** Why there is nothing newer. */
  readonly trouble: string | null;
}

export const NOTHING_KNOWN: Known = { nodes: [], takenAtMs: null, trouble: null };

export interface Look {
  readonly width: number;
  readonly height: number;
  /** How many nodes are scrolled away at the left. */
  readonly scroll: number;
  /** Whether keys do anything here: on paper they don't. */
  readonly keys: boolean;
  readonly help: boolean;
}

/** Left of the bars: the scale's numbers and its line. */
const GUTTER = 7;
/** Below the bars: the axis, the numbers of the nodes, the status. */
const FOOT = 3;
const WIDEST_COLUMN = 8;
/** A column so wide has room for the load in figures. */
const WIDE_COLUMN = 6;
/** A node this loaded has more to do than CPUs. */
const BUSY_LOAD = 1.005;
/** Below this a node counts as idle. */
const LEAST_SEEN_LOAD = 0.01;
/** Asked each second: without an answer for so long something is wrong. */
const SILENCE_MS = 3_000;
export const SMALLEST = { width: 12, height: 5 } as const;

/** How many nodes fit beside each other. */
export function columnsFor(nodes: readonly NodeInfo[], width: number): number {
  return Math.max(1, Math.floor((width - GUTTER) / narrowest(nodes)));
}

/** The scroll nearest to the wanted one that wastes no room. */
export function clampScroll(scroll: number, nodes: readonly NodeInfo[], width: number): number {
  return Math.max(0, Math.min(scroll, nodes.length - columnsFor(nodes, width)));
}

export function draw(known: Known, nowMs: number, look: Look): Picture {
  const { width, height } = look;
  const canvas = new Canvas(Math.max(0, width), Math.max(0, height));
  if (width < SMALLEST.width || height < SMALLEST.height) {
    canvas.write(0, 0, 'too small', 'trouble');
    return canvas.picture();
  }
  const nodes = [...known.nodes].sort((one, other) => one.node - other.node);
  const scroll = Math.max(0, look.scroll);
  const shown = nodes.slice(scroll, scroll + columnsFor(nodes, width));
  const top = scaleTop(Math.max(0, ...nodes.filter(hasLoad).map(({ load }) => load)));
  const rows = height - FOOT;

  drawScale(canvas, top, rows);
  const column = columnWidth(nodes, width);
  shown.forEach((node, index) =>
    drawNode(canvas, node, { left: GUTTER + index * column, column, top, rows }),
  );
  if (shown.length < nodes.length)
    drawRange(
      canvas,
      rows,
      { first: scroll + 1, last: scroll + shown.length, total: nodes.length },
      look.keys,
    );
  drawStatus(canvas, known, nowMs, look.keys);
  if (look.help) drawHelp(canvas);
  return canvas.picture();
}

function narrowest(nodes: readonly NodeInfo[]): number {
  return Math.max(1, ...nodes.map(({ node }) => String(node).length)) + 1;
}

function columnWidth(nodes: readonly NodeInfo[], width: number): number {
  const room = Math.floor((width - GUTTER) / Math.max(1, nodes.length));
  return Math.max(narrowest(nodes), Math.min(WIDEST_COLUMN, room));
}

function hasLoad({ state }: NodeInfo): boolean {
  return state !== 'dead' && state !== 'joining';
}

function isLive({ state }: NodeInfo): boolean {
  return state === 'alive' || state === 'draining';
}

function drawScale(canvas: Canvas, top: number, rows: number): void {
  for (let row = 0; row < rows; row++) canvas.write(row, GUTTER - 1, '|', 'faint');
  for (const mark of scaleMarks(top, rows)) {
    canvas.write(rows - mark.row, 0, loadText(mark.load).padStart(GUTTER - 2), 'faint');
  }
  canvas.write(rows, GUTTER - 1, `+${'-'.repeat(canvas.width - GUTTER)}`, 'faint');
  canvas.write(rows + 1, 0, 'Node', 'faint');
}

interface Place {
  readonly left: number;
  readonly column: number;
  readonly top: number;
  readonly rows: number;
}

function drawNode(canvas: Canvas, node: NodeInfo, place: Place): void {
  const { left, column, rows } = place;
  const number = String(node.node);
  const middle = left + Math.floor((column - 1) / 2);
  const tone: Tone = node.state === 'dead' ? 'dead' : node.state === 'suspect' ? 'suspect' : 'plain';
  canvas.write(rows + 1, middle - Math.floor((number.length - 1) / 2), number, tone);
  if (hasLoad(node)) drawBar(canvas, node, place);
  else if (node.state === 'dead') drawUpright(canvas, 'DEAD', 'X', middle, rows, 'dead');
  else drawUpright(canvas, 'JOIN', 'J', middle, rows, 'faint');
}

function drawUpright(
  canvas: Canvas,
  word: string,
  letter: string,
  column: number,
  rows: number,
  tone: Tone,
): void {
  const text = rows >= word.length ? word : letter;
  const first = rows - text.length;
  for (let index = 0; index < text.length; index++) {
    canvas.write(first + index, column, text.charAt(index), tone);
  }
}

function drawBar(canvas: Canvas, node: NodeInfo, { left, column, top, rows }: Place): void {
  const { load, state } = node;
  const width = column >= WIDE_COLUMN ? column - 2 : column - 1;
  const start = left + Math.floor((column - width) / 2);
  const fill = state === 'suspect' ? '?' : state === 'draining' ? '=' : '#';
  const tone: Tone = state === 'suspect' ? 'suspect' : load > BUSY_LOAD ? 'busy' : 'bar';
  const filled = barRows(load, top, rows);
  for (let row = 1; row <= filled; row++) canvas.write(rows - row, start, fill.repeat(width), tone);
  // An idle node of either kind is told from a live idle one by its mark; a little load by a line.
  let above = filled + 1;
  if (filled === 0 && state !== 'alive') canvas.write(rows - above++, start, fill, tone);
  else if (filled === 0 && load >= LEAST_SEEN_LOAD)
    canvas.write(rows - above++, start, '_'.repeat(width), tone);
  if (column >= WIDE_COLUMN) {
    const figures = loadText(load);
    const indent = Math.max(0, Math.floor((column - figures.length) / 2));
    // A bar that reaches the top has no room above it and carries them in its first row.
    const row = Math.max(0, rows - above);
    canvas.write(row, left + indent, figures, tone === 'suspect' ? 'suspect' : 'plain');
  }
}

interface Range {
  readonly first: number;
  readonly last: number;
  readonly total: number;
}

/** Which nodes these are, and where there are more. */
function drawRange(canvas: Canvas, row: number, { first, last, total }: Range, hasKeys: boolean): void {
  const less = first > 1 ? '<' : ' ';
  const more = last < total ? '>' : ' ';
  const range = `${first}-${last} of ${total}`;
  const long = `${less} ${range}, arrow keys ${more}`;
  const short = `${less} ${range} ${more}`;
  const room = canvas.width - GUTTER - 2;
  canvas.write(row, GUTTER + 1, hasKeys && long.length <= room ? long : short);
}

function drawStatus(canvas: Canvas, known: Known, nowMs: number, hasKeys: boolean): void {
  const row = canvas.height - 1;
  const silentMs = known.takenAtMs === null ? null : Math.max(0, nowMs - known.takenAtMs);
  if (silentMs === null) {
    canvas.write(row, 0, known.trouble ?? 'asking the agent', known.trouble === null ? 'plain' : 'trouble');
    return;
  }
  if (known.trouble !== null || silentMs >= SILENCE_MS) {
    const what = `no answer for ${seconds(silentMs)}`;
    const long = known.trouble === null ? what : `${what}: ${known.trouble}`;
    canvas.write(row, 0, long.length <= canvas.width ? long : what, 'trouble');
    return;
  }
  const counts = `Nodes ${known.nodes.length}  Live ${known.nodes.filter(isLive).length}`;
  const age = `${seconds(oldestMs(known.nodes) + silentMs)} old`;
  const texts = [`${counts}  information ${age}`, `${counts}  ${age}`, counts];
  canvas.write(row, 0, texts.find((text) => text.length <= canvas.width) ?? counts);
  const keys = 'h help  q quit';
  const used = texts[0]?.length ?? 0;
  if (hasKeys && used + keys.length + 2 <= canvas.width)
    canvas.write(row, canvas.width - keys.length, keys, 'faint');
}

/** Of the live nodes: that the dead say nothing new is told by their marks. */
function oldestMs(nodes: readonly NodeInfo[]): number {
  return Math.max(0, ...nodes.filter(isLive).map(({ ageMs }) => ageMs ?? 0));
}

function seconds(ms: number): string {
  return ms < 9_950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
