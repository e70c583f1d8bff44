/*
 * mon on a terminal: keeps what is known and what is looked at, and draws when either changes.
 */
import type { SkeinError } from '../runtime/client/index.js';
import { wallMs } from '../runtime/base/clock.js';
import { feed } from './feed.js';
import { clampScroll, columnsFor, draw, NOTHING_KNOWN, type Known } from './model.js';
import { openView, type View } from './view.js';

/** The age of information grows while nothing comes. */
const REDRAW_MS = 1_000;
const END_SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const;

/** Resolves when the user quits. @throws SkeinError if there is no agent. */
export async function watchOnScreen(): Promise<void> {
  const ending = new AbortController();
  const quit = (): void => ending.abort();
  for (const signal of END_SIGNALS) process.once(signal, quit);

  let known: Known = NOTHING_KNOWN;
  let scroll = 0;
  let isHelpShown = false;
  // Opened with the first answer, so that "no agent" is said on an untouched terminal.
  let view: View | null = null;
  let redraw: NodeJS.Timeout | undefined;

  const render = (): void => {
    if (view === null) return;
    const { width, height } = view.size();
    scroll = clampScroll(scroll, known.nodes, width);
    view.show(draw(known, wallMs(), { width, height, scroll, keys: true, help: isHelpShown }));
  };
  const showHelp = (isShown: boolean): void => {
    isHelpShown = isShown;
    render();
  };
  const open = (): View =>
    openView({
      quit,
      help: () => showHelp(!isHelpShown),
      helpAway: () => showHelp(false),
      scroll: (move) => {
        const page = view === null ? 1 : columnsFor(known.nodes, view.size().width);
        scroll += 'pages' in move ? move.pages * page : move.nodes;
        render();
      },
      resized: render,
    });

  try {
    await feed(
      {
        nodes: (nodes, takenAtMs) => {
          known = { nodes, takenAtMs, trouble: null };
          view ??= open();
          redraw ??= setInterval(render, REDRAW_MS);
          render();
        },
        trouble: (trouble: SkeinError['message']) => {
          known = { ...known, trouble };
          render();
        },
      },
      ending.signal,
    );
  } finally {
    clearInterval(redraw);
    (view as View | null)?.close();
    for (const signal of END_SIGNALS) process.removeListener(signal, quit);
  }
}
