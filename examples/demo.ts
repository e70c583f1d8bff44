/*
 * `npm start`: the password audit.
 *
 * Three nodes are brought up on this machine. Three audits, plain C programs, start on node 1; the balancer
 * spreads them; one is moved by hand while it runs; what they find is checked. Everything goes through the
 * commands a person would type, and each is shown as it is typed. SKEIN_DEMO_SECONDS sets how many seconds of
 * CPU each audit needs (25).
 */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { prepareAudit } from './audit/prepare.js';

const NODES = 3;
const SPREAD_LIMIT_MS = 40_000;
const COMMAND_LIMIT_MS = 110_000;
const LOOK_AGAIN_MS = 400;

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const execute = promisify(execFile);
const startedMs = Date.now();

interface Task {
  readonly task: string;
  readonly host: number;
  readonly state: string;
  readonly moves: number;
}

interface Move {
  readonly from: number;
  readonly to: number;
  readonly rounds: number;
  readonly bytesTotal: number;
  readonly downtimeMs: number;
}

function say(text: string): void {
  const seconds = ((Date.now() - startedMs) / 1000).toFixed(1).padStart(5);
  console.log(`${seconds} s  ${text}`);
}

function show(text: string): void {
  console.log(text.trimEnd().replace(/^/gm, '         '));
}

class Cluster {
  constructor(private readonly folder: string) {}

  /** Runs one command as if typed on node 1; gives its output. Its failure ends the demonstration. */
  async run(program: 'skein' | 'runon' | 'mon', ...words: string[]): Promise<string> {
    const { stdout } = await execute(join(root, 'bin', program), words, {
      env: { ...process.env, SKEIN_DIR: this.folder, SKEIN_NODE: '1', COLUMNS: '80', LINES: '20' },
      timeout: COMMAND_LIMIT_MS,
    });
    return stdout;
  }

  async typed(program: 'skein' | 'runon' | 'mon', ...words: string[]): Promise<string> {
    say(`$ ${program} ${words.map((word) => word.replace(`${root}/`, '')).join(' ')}`);
    return this.run(program, ...words);
  }

  async tasks(): Promise<Task[]> {
    return JSON.parse(await this.run('skein', 'ps', '--json')) as Task[];
  }
}

/** Waits until the tasks run on as many different nodes as there are; tells of each move. */
async function awaitSpread(cluster: Cluster, ids: readonly string[]): Promise<Task[]> {
  const hosts = new Map<string, number>(ids.map((id) => [id, 1]));
  const deadlineMs = Date.now() + SPREAD_LIMIT_MS;
  while (Date.now() < deadlineMs) {
    const tasks = (await cluster.tasks()).filter((task) => ids.includes(task.task));
    if (tasks.length < ids.length) throw new Error('an audit ended before the balancer had spread them');
    for (const { task, host } of tasks) {
      if (hosts.get(task) !== host)
        say(`the balancer moved ${task} from node ${hosts.get(task) ?? 1} to node ${host}`);
      hosts.set(task, host);
    }
    if (new Set(hosts.values()).size === NODES) return tasks;
    await pause(LOOK_AGAIN_MS);
  }
  throw new Error(`the balancer has not spread the audits in ${SPREAD_LIMIT_MS / 1000} s`);
}

async function moveByHand(cluster: Cluster, tasks: readonly Task[]): Promise<string> {
  const chosen = tasks.find((task) => task.host === 2);
  if (chosen === undefined) throw new Error('no audit runs on node 2');
  const move = JSON.parse(await cluster.typed('skein', 'migrate', chosen.task, '3', '--json')) as Move;
  const megabytes = (move.bytesTotal / 1e6).toFixed(1);
  show(
    `${chosen.task} went from node ${move.from} to node ${move.to}: ${megabytes} MB in ${move.rounds} rounds, ` +
      `and stood still for ${move.downtimeMs.toFixed(0)} ms.`,
  );
  const after = (await cluster.tasks()).find((task) => task.task === chosen.task);
  if (after?.host !== 3) throw new Error(`${chosen.task} is not on node 3 after its move`);
  return chosen.task;
}

async function demonstrate(cluster: Cluster, folder: string): Promise<void> {
  const seconds = Number(process.env['SKEIN_DEMO_SECONDS'] ?? 25);
  const audit = await prepareAudit(folder, join(root, 'dist/examples/audit/audit'), NODES, seconds);

  say(`three nodes on this machine, at 127.0.0.1 to 127.0.0.${NODES}:`);
  await cluster.typed('skein', 'cluster', 'up', String(NODES));
  show(await cluster.typed('mon', '--once'));

  say(
    `a shadow file with ${audit.users} users, a list of ${audit.words} words: three audits, all on node 1.`,
  );
  const ids: string[] = [];
  for (let share = 1; share <= NODES; share++) {
    const words = ['--share', `${share}/${NODES}`, audit.shadowPath, audit.wordsPath];
    const id = (
      await cluster.typed('runon', '-d', '--name', `audit${share}`, 'home', '--', audit.program, ...words)
    ).trim();
    ids.push(id);
    show(`task ${id}`);
  }

  const spread = await awaitSpread(cluster, ids);
  show(await cluster.typed('mon', '--once'));
  say('one more move, by hand, while it runs:');
  const moved = await moveByHand(cluster, spread);
  show(await cluster.typed('mon', '--once'));
  show(await cluster.typed('skein', 'ps'));

  say('now for what they find:');
  for (const [index, id] of ids.entries()) {
    await cluster.run('skein', 'wait', id);
    const output = await cluster.typed('skein', 'logs', id);
    show(output);
    const expected = audit.expected[index];
    if (expected === undefined || !output.includes(`${expected.user}: ${expected.word}\n`)) {
      throw new Error(`${id} should have found the password of ${expected?.user ?? 'someone'}`);
    }
  }
  say(`all ${ids.length} weak passwords were found, whatever moved meanwhile (${moved} went round twice).`);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'skein-demo-'));
  // Root's tasks run as nobody, who must get to the cluster's folder.
  await chmod(folder, 0o755);
  const cluster = new Cluster(join(folder, 'cluster'));
  try {
    await demonstrate(cluster, folder);
  } catch (error) {
    say(`The demonstration failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  } finally {
    await cluster.typed('skein', 'cluster', 'down').catch((error: unknown) => {
      say(`The cluster could not be shut down: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    });
    await rm(folder, { recursive: true, force: true });
  }
  if (process.exitCode === 1) return;
  console.log(`
What you saw: programs that know nothing of Skein, started on one node, ran on others, saw the files of the
node they came from, and were moved while they ran. To go on:

    export PATH=$PWD/bin:$PATH
    skein cluster up 3                 three nodes of your own; mon in another terminal shows them
    runon 2 ls -l                      runs on node 2, lists your folder
    runon best xz -T2 -k some-file     runs where there is most room
    skein ps; skein migrate 1.1 3      what runs where; moves one while it runs
    skein cluster down                 leaves nothing behind
`);
}

await main();
