import { describe, expect, it } from 'vitest';
import { clampScroll, columnsFor, draw, NOTHING_KNOWN, type Known, type Look } from '../../../mon/model.js';
import { plainText } from '../../../mon/picture.js';
import { node } from './nodes.js';

const NOW_MS = 1_000_000;

function known(nodes: Known['nodes'], fields: Partial<Known> = {}): Known {
  return { nodes, takenAtMs: NOW_MS, trouble: null, ...fields };
}

function lines(what: Known, look: Partial<Look> = {}, nowMs = NOW_MS): string[] {
  const full = { width: 80, height: 24, scroll: 0, keys: false, help: false, ...look };
  const picture = draw(what, nowMs, full);
  expect(picture).toHaveLength(full.height);
  for (const row of picture) {
    expect(row.reduce((sum, { text }) => sum + text.length, 0)).toBe(full.width);
  }
  return plainText(picture).split('\n');
}

/** The characters of one column of the screen, without blanks. */
function column(rows: readonly string[], at: number): string {
  return rows
    .map((row) => row.charAt(at))
    .join('')
    .replaceAll(' ', '');
}

describe('the picture', () => {
  it('is this for three nodes on a small screen', () => {
    const nodes = [node(1, { load: 1 }), node(2, { load: 0.5 }), node(3, { state: 'dead' })];
    expect(lines(known(nodes), { width: 40, height: 11 })).toEqual([
      ' 1.00 | #1.00#',
      '      | ######',
      '      | ######',
      '      | ######   0.50',
      ' 0.50 | ######  ######    D',
      '      | ######  ######    E',
      '      | ######  ######    A',
      '      | ######  ######    D',
      '      +---------------------------------',
      'Node      1       2       3',
      'Nodes 3  Live 2  information 0.4 s old',
    ]);
  });

  it('fits 80×24 with one bar above each number', () => {
    const rows = lines(known([node(1, { load: 1 }), node(2, { load: 0.25 }), node(3)]));
    const numbers = rows[22] ?? '';
    for (const [number, share] of [
      ['1', 1],
      ['2', 0.25],
      ['3', 0],
    ] as const) {
      const bar = column(rows.slice(0, 21), numbers.indexOf(number));
      // The figures of a full bar stand in its first row.
      expect(bar.replaceAll(/[^#]/g, '')).toHaveLength(Math.min(20, Math.round(21 * share)));
    }
    expect(rows[0]).toMatch(/^ 1\.00 \|/);
  });

  it('fits 30×20', () => {
    const rows = lines(known([node(1, { load: 2.4 }), node(2), node(3, { state: 'dead' })]), {
      width: 30,
      height: 20,
    });
    expect(rows[0]).toMatch(/^ 3\.00 \|/);
    expect(rows[18]).toMatch(/^Node +1 +2 +3$/);
    expect(rows[19]).toBe('Nodes 3  Live 2  0.4 s old');
  });

  it('puts the nodes in order of their numbers', () => {
    expect(lines(known([node(3), node(1), node(2)]))[22]).toMatch(/^Node +1 +2 +3$/);
  });

  it('has a scale to 1.00 when all is idle, and more when a load is higher', () => {
    expect(lines(known([node(1)]))[0]).toMatch(/^ 1\.00 /);
    expect(lines(known([node(1, { load: 37 })]))[0]).toMatch(/^40\.00 /);
  });

  it('lets the loads that dead nodes once had not raise the scale', () => {
    expect(lines(known([node(1), node(2, { state: 'dead', load: 9 })]))[0]).toMatch(/^ 1\.00 /);
  });

  it('marks the dead, the suspect, the draining and those not heard of yet', () => {
    const nodes = [
      node(1, { state: 'dead' }),
      node(2, { state: 'joining' }),
      node(3, { state: 'suspect', load: 0.5 }),
      node(4, { state: 'draining', load: 0.5 }),
      node(5, { state: 'suspect' }),
    ];
    const rows = lines(known(nodes));
    const at = (number: number): string =>
      column(rows.slice(0, 21), (rows[22] ?? '').indexOf(String(number)));
    expect(at(1)).toBe('DEAD');
    expect(at(2)).toBe('JOIN');
    expect(at(3)).toMatch(/^\D*[\d.]?\?{11}$/);
    expect(at(4)).toMatch(/={11}$/);
    expect(rows[20]).toContain('?');
    expect(rows[23]).toMatch(/^Nodes 5 {2}Live 1 /);
  });

  it('marks the dead by one letter where there is no room for a word', () => {
    expect(lines(known([node(1, { state: 'dead' })]), { height: 6 })[2]).toContain('X');
  });

  it('shows a little load that fills no row', () => {
    expect(lines(known([node(1, { load: 0.015 })]))[20]).toContain('______');
    expect(lines(known([node(1, { load: 0.001 })]))[20]).not.toContain('_');
  });

  it('says so when there is no room at all', () => {
    expect(lines(known([node(1)]), { width: 10, height: 4 })[0]).toBe('too small');
    expect(
      draw(known([node(1)]), NOW_MS, { width: 0, height: 0, scroll: 0, keys: true, help: true }),
    ).toEqual([]);
  });

  it('draws no bars of no nodes', () => {
    const rows = lines(known([]));
    expect(rows.join('')).not.toContain('#');
    expect(rows[23]).toMatch(/^Nodes 0 {2}Live 0 /);
  });
});

describe('more nodes than room', () => {
  const nodes = Array.from({ length: 200 }, (_, index) => node(index + 1, { load: (index % 10) / 10 }));

  it('shows as many as fit and says so', () => {
    const rows = lines(known(nodes), { keys: true });
    expect(columnsFor(nodes, 80)).toBe(18);
    expect(rows[21]).toContain('1-18 of 200, arrow keys >');
    expect(rows[22]?.trim().split(/\s+/)).toEqual([
      'Node',
      ...Array.from({ length: 18 }, (_, i) => String(i + 1)),
    ]);
    expect(rows[23]).toMatch(/^Nodes 200 {2}Live 200 /);
  });

  it('scrolls', () => {
    expect(lines(known(nodes), { keys: true, scroll: 100 })[21]).toContain('< 101-118 of 200, arrow keys >');
    const last = lines(known(nodes), { keys: true, scroll: 182 });
    expect(last[21]).toContain('< 183-200 of 200, arrow keys  ');
    expect(last[22]).toMatch(/ 200$/);
  });

  it('never scrolls past either end', () => {
    expect(clampScroll(-5, nodes, 80)).toBe(0);
    expect(clampScroll(Infinity, nodes, 80)).toBe(182);
    expect(clampScroll(-Infinity, nodes, 80)).toBe(0);
    expect(clampScroll(5, nodes.slice(0, 3), 80)).toBe(0);
  });

  it('fits 30×20 with a short hint', () => {
    expect(lines(known(nodes), { width: 30, height: 20, scroll: 3, keys: true })[17]).toContain(
      '< 4-8 of 200 >',
    );
  });

  it('keeps numbers apart even if they have five digits', () => {
    const far = [node(65_534), node(65_535)];
    expect(lines(known(far), { width: 20, height: 10 })[8]).toMatch(/^Node +65534 +65535$/);
  });
});

describe('the status line', () => {
  it('tells the age of the oldest information about a live node', () => {
    const nodes = [
      node(1, { ageMs: 0 }),
      node(2, { ageMs: 2_500 }),
      node(3, { state: 'dead', ageMs: 90_000 }),
    ];
    expect(lines(known(nodes), {}, NOW_MS + 600)[23]).toBe('Nodes 3  Live 2  information 3.1 s old');
  });

  it('names the keys where keys do anything', () => {
    expect(lines(known([node(1)]), { keys: true })[23]).toMatch(/h help {2}q quit$/);
    expect(lines(known([node(1)]), { keys: true, width: 30 })[23]).not.toContain('quit');
  });

  it('says for how long there was no answer, and why', () => {
    expect(lines(known([node(1)]), {}, NOW_MS + 4_000)[23]).toBe('no answer for 4.0 s');
    const gone = known([node(1)], { trouble: 'it is not running' });
    expect(lines(gone, {}, NOW_MS + 12_300)[23]).toBe('no answer for 12 s: it is not running');
    expect(lines(gone, { width: 30 }, NOW_MS + 12_300)[23]).toBe('no answer for 12 s');
  });

  it('says what it waits for before the first answer', () => {
    expect(lines(NOTHING_KNOWN)[23]).toBe('asking the agent');
  });
});

describe('help', () => {
  it.each([
    [80, 24],
    [30, 20],
  ])('is readable at %d×%d', (width, height) => {
    const text = lines(known([node(1, { load: 1 })]), { width, height, help: true }).join('\n');
    for (const word of ['suspect', 'draining', 'DEAD', 'JOIN', 'q: quit']) expect(text).toContain(word);
  });

  it('is cut off where there is no room', () => {
    lines(known([node(1)]), { width: 12, height: 5, help: true });
  });
});
