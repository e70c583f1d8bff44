/*
 * The screen: draws pictures, hears keys. The only file that knows blessed.
 */
import blessed from 'blessed';
import type { Picture, Tone } from './picture.js';

export interface ViewHandlers {
  readonly quit: () => void;
  readonly help: () => void;
  readonly helpAway: () => void;
  /** Scroll by so many nodes; a screenful is `pages`. */
  readonly scroll: (move: { readonly nodes: number } | { readonly pages: number }) => void;
  readonly resized: () => void;
}

export interface View {
  readonly size: () => { readonly width: number; readonly height: number };
  readonly show: (picture: Picture) => void;
  /** Gives the terminal back as it was. */
  readonly close: () => void;
}

const COLOURS: Readonly<Record<Tone, string | null>> = {
  plain: null,
  faint: 'cyan-fg',
  bar: 'green-fg',
  busy: 'yellow-fg',
  suspect: 'magenta-fg',
  dead: 'red-fg',
  trouble: 'red-fg',
};

export function openView(handlers: ViewHandlers): View {
  const screen = blessed.screen({ smartCSR: true, title: 'mon', warnings: false });
  const field = blessed.box({
    parent: screen,
    top: 0,
    left: 0,
    width: '100%',
    height: '100%',
    tags: true,
    wrap: false,
  });
  screen.program.hideCursor();

  screen.key(['q', 'Q', 'C-c'], () => handlers.quit());
  screen.key(['h', '?'], () => handlers.help());
  screen.key('escape', () => handlers.helpAway());
  screen.key('left', () => handlers.scroll({ nodes: -1 }));
  screen.key('right', () => handlers.scroll({ nodes: 1 }));
  screen.key(['pageup', 'up'], () => handlers.scroll({ pages: -1 }));
  screen.key(['pagedown', 'down'], () => handlers.scroll({ pages: 1 }));
  screen.key('home', () => handlers.scroll({ nodes: -Infinity }));
  screen.key('end', () => handlers.scroll({ nodes: Infinity }));
  // Whatever garbled the screen: C-l draws all of it again.
  screen.key('C-l', () => {
    screen.realloc();
    screen.render();
  });
  screen.on('resize', () => handlers.resized());

  return {
    size: () => ({ width: Number(screen.width), height: Number(screen.height) }),
    show: (picture) => {
      field.setContent(picture.map(lineText).join('\n'));
      screen.render();
    },
    close: () => screen.destroy(),
  };
}

function lineText(row: Picture[number]): string {
  return row
    .map(({ text, tone }) => {
      const colour = COLOURS[tone];
      const safe = blessed.escape(text);
      return colour === null ? safe : `{${colour}}${safe}{/${colour}}`;
    })
    .join('');
}
