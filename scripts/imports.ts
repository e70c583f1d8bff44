/*
 * Holds the rules of who may import whom.
 *
 * The parts don't import each other: each declares what it needs and the agent's main wires them. A few
 * packages have one door each, so that replacing one touches one file. What decides is pure: it may import no
 * I/O at all. Nothing may import in a circle.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

interface Part {
  readonly folder: string;
  /** The other folders that its files may import from; a name that ends in .ts is that one file. */
  readonly may: readonly string[];
  /** Pure: no Node module and no package. */
  readonly pure?: boolean;
}

/** The most particular line wins, so a file that wires comes before its folder. */
const PARTS: readonly Part[] = [
  // The agent's main and its folder wire the parts to each other.
  { folder: 'runtime/agent/main.ts', may: ['runtime', 'scheduler'] },
  { folder: 'runtime/agent/main', may: ['runtime', 'scheduler'] },
  { folder: 'runtime/base', may: [], pure: true },
  { folder: 'runtime/wire', may: ['runtime/base'] },
  { folder: 'runtime/agent', may: ['runtime/base', 'runtime/wire'] },
  { folder: 'runtime/migration', may: ['runtime/base'], pure: true },
  { folder: 'runtime/tasks', may: ['runtime/base'] },
  { folder: 'runtime/jobs', may: ['runtime/base'] },
  { folder: 'runtime/workers', may: ['runtime/base'] },
  { folder: 'runtime/client', may: ['runtime/base', 'runtime/wire'] },
  { folder: 'runtime/cli', may: ['runtime/base', 'runtime/wire', 'runtime/client'] },
  { folder: 'scheduler', may: ['runtime/base'], pure: true },
  { folder: 'mon', may: ['runtime/base', 'runtime/client'] },
  { folder: 'examples', may: ['runtime/client'] },
  { folder: 'scripts', may: [] },
  { folder: 'test', may: ['runtime', 'scheduler', 'mon', 'scripts'] },
];

/** Packages with one door: only files whose path begins so may import them. */
const DOORS: Readonly<Record<string, string>> = {
  zeromq: 'runtime/wire/transport',
  msgpackr: 'runtime/wire/codec',
  systeminformation: 'runtime/agent/probe',
  blessed: 'mon/view',
  piscina: 'runtime/workers/',
};

const TEST_LIBRARIES = ['vitest', 'typescript'];

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

function sourceFiles(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

function within(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}/`);
}

function partOf(path: string): Part | undefined {
  return PARTS.find((part) => within(path, part.folder));
}

function imports(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  return ts.preProcessFile(text, true, true).importedFiles.map((file) => file.fileName);
}

/** Says what is wrong with one import, or null. */
function judge(path: string, part: Part, name: string): string | null {
  if (name.startsWith('.')) {
    const target = relative(root, resolve(root, dirname(path), name)).replace(/\.js$/, '.ts');
    const home = part.folder.endsWith('.ts') ? dirname(part.folder) : part.folder;
    if (within(target, home) || part.may.some((place) => within(target, place))) return null;
    return `may not import ${target}: ${part.folder} imports only from ${[home, ...part.may].join(', ')}`;
  }
  if (name.startsWith('node:')) {
    return part.pure === true && name !== 'node:assert' ? `is pure and may not import ${name}` : null;
  }
  const packageName = name.startsWith('@')
    ? name.split('/').slice(0, 2).join('/')
    : (name.split('/')[0] ?? name);
  const door = DOORS[packageName];
  if (door !== undefined && !path.startsWith(door))
    return `may not import ${packageName}: only ${door}… does`;
  if (part.pure === true) return `is pure and may not import ${packageName}`;
  if (TEST_LIBRARIES.includes(packageName) && !within(path, 'test') && !within(path, 'scripts')) {
    return `may not import ${packageName}: it is not there when Skein runs`;
  }
  return null;
}

function circles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      found.push([...trail.slice(start), path].join(' → '));
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return found;
}

const problems: string[] = [];
const graph = new Map<string, string[]>();
const files = ['runtime', 'scheduler', 'mon', 'examples', 'scripts', 'test'].flatMap(sourceFiles);
for (const path of files) {
  const part = partOf(path);
  if (part === undefined) {
    problems.push(`${path}: belongs to no part (scripts/imports.ts lists them)`);
    continue;
  }
  const local: string[] = [];
  for (const name of imports(path)) {
    const problem = judge(path, part, name);
    if (problem !== null) problems.push(`${path}: ${problem}`);
    if (name.startsWith('.'))
      local.push(relative(root, resolve(root, dirname(path), name)).replace(/\.js$/, '.ts'));
  }
  graph.set(path, local);
}
problems.push(...circles(graph).map((circle) => `imports in a circle: ${circle}`));

for (const problem of problems) console.error(problem);
console.log(`import rules: ${files.length} files, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
