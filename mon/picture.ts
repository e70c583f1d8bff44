/** How a piece of text is meant; the view gives it a colour, plain text has none. */
export type Tone = 'plain' | 'faint' | 'bar' | 'busy' | 'suspect' | 'dead' | 'trouble';

export interface Span {
  readonly text: string;
  readonly tone: Tone;
}

/** Lines from top to bottom, none wider than asked for. */
export type Picture = readonly (readonly Span[])[];

interface Cell {
  text: string;
  tone: Tone;
}

/** A field of cells that is drawn upon. */
export class Canvas {
  private readonly cells: Cell[][];

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.cells = Array.from({ length: height }, () =>
      Array.from({ length: width }, (): Cell => ({ text: ' ', tone: 'plain' })),
    );
  }

  /** What falls outside is cut off. */
  write(row: number, column: number, text: string, tone: Tone = 'plain'): void {
    for (let index = 0; index < text.length; index++) {
      const cell = this.cells[row]?.[column + index];
      if (cell === undefined) continue;
      cell.text = text.charAt(index);
      cell.tone = tone;
    }
  }

  picture(): Picture {
    return this.cells.map((row) => {
      const spans: Cell[] = [];
      for (const { text, tone } of row) {
        const last = spans.at(-1);
        if (last?.tone === tone) last.text += text;
        else spans.push({ text, tone });
      }
      return spans;
    });
  }
}

/** The picture without its tones, one line a row, no blanks at the ends. */
export function plainText(picture: Picture): string {
  return picture
    .map((row) =>
      row
        .map(({ text }) => text)
        .join('')
        .trimEnd(),
    )
    .join('\n');
}
