/*
 * `npm test`: every test there is, one suite after the other, ending in one line that sums them.
 *
 *   npm test                      all of them
 *   npm test -- native            those whose name begins with a word: native, unit, cluster, ordinary,
 *   npm test -- cluster/runon     … or any one suite
 *
 * In CI a skipped test is a failed run: there everything a test may need has been installed.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runAsOrdinaryUser } from './ordinary.js';
import { runSuite, type Show, type Suite } from './suite.js';
import { clusterSuites, nativeSuites, unitSuite } from './suites.js';
import { add, closingLine, NOTHING, type Tally } from './tally.js';

const ORDINARY = 'ordinary';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');

async function main(words: readonly string[]): Promise<void> {
  const wanted = (name: string): boolean => words.length === 0 || words.some((word) => name.startsWith(word));
  const suites: Suite[] = [
    ...(await nativeSuites(root)),
    unitSuite(root),
    ...(await clusterSuites(root)),
  ].filter((suite) => wanted(suite.name));
  const show: Show = suites.length === 1 ? 'all' : 'failed';

  let total: Tally = NOTHING;
  for (const suite of suites) total = add(total, await runSuite(suite, show));
  if (process.getuid?.() === 0 && wanted(ORDINARY))
    total = add(total, await runAsOrdinaryUser(root, 'failed'));

  const inCi = process.env['CI'] === 'true';
  if (inCi && total.skipped > 0) console.log('A test was skipped, which CI does not allow.');
  if (total.passed + total.failed === 0) console.log('No test was run.');
  const good = total.failed === 0 && total.passed > 0 && !(inCi && total.skipped > 0);
  console.log(closingLine(total));
  process.exitCode = good ? 0 : 1;
}

await main(process.argv.slice(2));
