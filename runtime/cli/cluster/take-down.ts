import { rmSync } from 'node:fs';
import { CommandError } from '../verb.js';
import { nodeFolder, nodeNumbers, type ClusterFile } from './folder.js';
import { end, ownProcesses, sendSignal, strays } from './processes.js';
import { setTimeout as pause } from 'node:timers/promises';

const ORDERLY_MS = 10_000;
const KILLED_MS = 5_000;
const LOOK_AGAIN_MS = 50;

/**
 * Ends everything of a cluster and removes its folder: the launchers in order, then by force, then what a crash has
 * left. Nothing that is not the cluster's is touched: pid files name a start time too.
 */
export async function takeDown(folder: string, { nodes }: ClusterFile): Promise<void> {
  const states = nodeNumbers(nodes).map((node) => nodeFolder(folder, node));
  await end(ownProcesses(states), 'SIGTERM', ORDERLY_MS);
  const stubborn = await end(ownProcesses(states), 'SIGKILL', KILLED_MS);
  if (stubborn.length > 0)
    throw new CommandError(
      `could not end process ${stubborn.map(({ pid }) => pid).join(', ')} of the cluster in ${folder}`,
    );
  await endStrays(folder);
  rmSync(folder, { recursive: true, force: true });
}

/** First asked, so that a runon gives its terminal back; then by force. */
async function endStrays(folder: string): Promise<void> {
  const deadlineMs = performance.now() + KILLED_MS;
  let left = strays(folder);
  for (const { pid } of left) sendSignal(pid, 'SIGTERM');
  while (left.length > 0) {
    await pause(LOOK_AGAIN_MS);
    left = strays(folder);
    if (performance.now() < deadlineMs - KILLED_MS / 2) continue;
    for (const { pid } of left) sendSignal(pid, 'SIGKILL');
    if (left.length > 0 && performance.now() > deadlineMs)
      throw new CommandError(
        `could not end ${left.map(({ pid, command }) => `${pid} (${command.slice(0, 40)})`).join(', ')}`,
      );
  }
}
