import type { Run } from './verb.js';

export interface Verb {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  /** Each verb is loaded when it is typed: starting must be quick. */
  readonly load: () => Promise<{ readonly run: Run }>;
}

export const VERBS: readonly Verb[] = [
  {
    name: 'cluster',
    usage: 'cluster up N [--dir D] [--port P] [--cpus X] | status [--json] | down | exec K [--] COMMAND…',
    summary: 'a cluster of N nodes on this machine',
    load: () => import('./cluster.js'),
  },
  {
    name: 'nodes',
    usage: 'nodes [--json]',
    summary: 'the nodes and their load',
    load: () => import('./nodes.js'),
  },
  {
    name: 'ps',
    usage: 'ps [--all] [--json]',
    summary: 'the tasks and where they run',
    load: () => import('./ps.js'),
  },
  {
    name: 'migrate',
    usage: 'migrate TASK NODE|home|best [--post-copy] [--json]',
    summary: 'moves a running task',
    load: () => import('./migrate.js'),
  },
  {
    name: 'why',
    usage: 'why TASK [--json]',
    summary: 'why a task cannot move, or what the balancer thought of it',
    load: () => import('./why.js'),
  },
  {
    name: 'kill',
    usage: 'kill [-s SIGNAL] TASK',
    summary: 'sends a signal',
    load: () => import('./kill.js'),
  },
  {
    name: 'wait',
    usage: 'wait TASK',
    summary: "waits for a task's end; ends with its exit status",
    load: () => import('./wait.js'),
  },
  {
    name: 'logs',
    usage: 'logs [-f] TASK',
    summary: 'what a detached task has printed',
    load: () => import('./logs.js'),
  },
  {
    name: 'key',
    usage: 'key FOLDER',
    summary: "makes a node's key; prints its line for the file `keys`",
    load: () => import('./key.js'),
  },
  {
    name: 'doctor',
    usage: 'doctor [--json]',
    summary: 'what on this machine stands in the way, and how to mend it',
    load: () => import('./doctor.js'),
  },
];

/** Part of the language already; what they need comes later. */
export const NOT_YET: readonly string[] = [
  'checkpoint',
  'restart',
  'submit',
  'jobs',
  'show',
  'cancel',
  'drain',
  'tune',
];
