import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Suite } from './suite.js';
import { parseClosingLine, type Tally } from './tally.js';

const NATIVE_LIMIT_MS = 5 * 60_000;
const UNIT_LIMIT_MS = 5 * 60_000;
const CLUSTER_LIMIT_MS = 10 * 60_000;

/** The folders test/native/NAME/ that have a run.sh, each a suite. */
export async function nativeSuites(root: string): Promise<Suite[]> {
  const suites: Suite[] = [];
  for (const name of await list(join(root, 'test/native'))) {
    if (!(await list(join(root, 'test/native', name))).includes('run.sh')) continue;
    suites.push({
      name: `native/${name}`,
      command: ['bash', join(root, 'test/native', name, 'run.sh')],
      limitMs: NATIVE_LIMIT_MS,
      cwd: root,
      tally: (output) => parseClosingLine(output),
    });
  }
  return suites;
}

export function unitSuite(root: string): Suite {
  return vitestSuite(root, 'unit', 'unit', [], UNIT_LIMIT_MS);
}

/** One suite for each file under test/cluster: each has its own time limit and is cleaned up after. */
export async function clusterSuites(root: string, names?: readonly string[]): Promise<Suite[]> {
  const files = (await list(join(root, 'test/cluster'))).filter((file) => file.endsWith('.test.ts'));
  const chosen = names === undefined ? files : files.filter((file) => names.includes(file));
  return chosen.map((file) =>
    vitestSuite(
      root,
      `cluster/${file.replace(/\.test\.ts$/, '')}`,
      'cluster',
      [join('test/cluster', file)],
      CLUSTER_LIMIT_MS,
    ),
  );
}

const RESULT_FILE = 'vitest.json';

function vitestSuite(root: string, name: string, project: string, files: string[], limitMs: number): Suite {
  return {
    name,
    command: [
      'bash',
      '-c',
      // The runner's folder for this suite is only known when it runs.
      'exec "$0" "$@" --outputFile.json="$SKEIN_TEST_FOLDER/' + RESULT_FILE + '"',
      process.execPath,
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--project',
      project,
      '--passWithNoTests',
      '--reporter=verbose',
      '--reporter=json',
      ...files,
    ],
    limitMs,
    cwd: root,
    tally: (_output, folder) => readVitestResult(join(folder, RESULT_FILE)),
  };
}

interface VitestResult {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numFailedTestSuites: number;
  success: boolean;
}

async function readVitestResult(path: string): Promise<Tally | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const result = JSON.parse(text) as VitestResult;
  // A file that could not even be loaded has no failed test but is a failed suite.
  const unloaded =
    result.numFailedTests === 0 && !result.success ? Math.max(1, result.numFailedTestSuites) : 0;
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + unloaded,
    skipped: result.numPendingTests + result.numTodoTests,
  };
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}
