/*
 * Waiting for what comes back by itself: after a restart of the agent the programs of before say hello within a second
 * or two, and until then nothing can be said of them.
 */
export class Arrivals {
  private readonly waiting = new Map<string, Set<() => void>>();

  /** Resolves when `name` has arrived, or after that time. */
  wait(name: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const ofName = this.waiting.get(name) ?? new Set();
      this.waiting.set(name, ofName);
      const done = (): void => {
        clearTimeout(timer);
        ofName.delete(done);
        if (ofName.size === 0) this.waiting.delete(name);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      ofName.add(done);
    });
  }

  arrived(name: string): void {
    for (const done of [...(this.waiting.get(name) ?? [])]) done();
  }
}
