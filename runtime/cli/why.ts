import { parse, taskId } from './arguments.js';
import { printJson, withCluster } from './session.js';
import { printable } from './table.js';
import { STATUS, type Run } from './verb.js';

export const run: Run = async (words) => {
  const { values, positionals } = parse(words, { json: { type: 'boolean' } }, 1);
  const task = taskId(positionals[0]);
  const why = await withCluster((cluster) => cluster.why(task));
  if (values.json === true) {
    printJson(why);
    return STATUS.ok;
  }
  const lines = why.movable ? [`${task} can be moved`] : [`${task} stays where it is:`];
  for (const { pid, kind, detail } of why.reasons)
    lines.push(`  ${pid > 0 ? `process ${pid}: ` : ''}${printable(kind)}: ${printable(detail)}`);
  const decision = describe(why.lastDecision);
  if (decision !== null) lines.push(`the balancer's last word: ${decision}`);
  process.stdout.write(`${lines.join('\n')}\n`);
  return STATUS.ok;
};

/** A text, or the reasons in it; anything else as JSON. */
function describe(decision: unknown): string | null {
  if (decision === null || decision === undefined) return null;
  if (typeof decision === 'string') return printable(decision);
  if (typeof decision === 'object' && 'reasons' in decision && Array.isArray(decision.reasons))
    return printable(decision.reasons.map(String).join('; '));
  return printable(JSON.stringify(decision));
}
