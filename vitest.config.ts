import { defineConfig } from 'vitest/config';

/*
 * Two projects: `unit` is pure and runs in parallel; `cluster` brings up real clusters, so its files run one
 * after the other and each test may take minutes (a stuck one is ended by its own limit, and the runner has
 * one for each file besides).
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/scenario/**/*.test.ts'],
          testTimeout: 20_000,
          // Two cores are the rule here; more workers than that only make the clocks in the tests lie.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
