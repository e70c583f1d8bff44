/*
 * Everything that the agent reads before it starts. What is wrong is said in one line.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig, parseKeys, type Config } from '../base/config.js';
import { messageOf } from '../base/errors.js';
import { parseMap, type NodeMap } from '../base/map.js';
import { publicKeyBytes, publicKeyOf } from '../wire/curve-key.js';
import type { PeerAddress } from '../wire/peers.js';

export interface Settings {
  readonly config: Config;
  readonly map: NodeMap;
  readonly address: string;
  readonly secretKey: string;
  readonly publicKey: string;
  /** Every other node that has a key. */
  readonly peers: ReadonlyMap<number, PeerAddress>;
}

export class SettingsError extends Error {}

/** @throws SettingsError */
export function readSettings(path: string): Settings {
  const config = reading(path, parseConfig);
  const map = reading(config.mapPath, parseMap);
  const keys = reading(config.keysPath, parseKeys);
  const address = map.nodes.get(config.node);
  if (address === undefined)
    throw new SettingsError(`${path}: node ${config.node} is not in the map ${config.mapPath}`);
  requireWritable(config.statePath);
  const secretPath = join(config.statePath, 'key.secret');
  const secretKey = reading(secretPath, (text) => text.trim());
  if ((statSync(secretPath).mode & 0o077) !== 0)
    throw new SettingsError(`${secretPath} can be read by others: chmod 600 ${secretPath}`);
  const publicKey = named(secretPath, () => publicKeyOf(secretKey));
  if (keys.get(config.node) !== publicKey)
    throw new SettingsError(
      `${config.keysPath}: the key of node ${config.node} is not that of ${secretPath}; the line is "${config.node} ${publicKey}"`,
    );
  const peers = new Map<number, PeerAddress>();
  for (const [node, peerAddress] of map.nodes) {
    const key = keys.get(node);
    if (node === config.node || key === undefined) continue;
    named(`${config.keysPath}: the key of node ${node}`, () => publicKeyBytes(key));
    peers.set(node, { address: peerAddress, port: config.port, publicKey: key });
  }
  return { config, map, address, secretKey, publicKey, peers };
}

function reading<T>(path: string, parse: (text: string) => T): T {
  return named(path, () => parse(readFileSync(path, 'utf8')));
}

function named<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new SettingsError(`${what}: there is no such file`);
    throw new SettingsError(`${what}: ${messageOf(error)}`);
  }
}

function requireWritable(path: string): void {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new SettingsError(
      `the state folder ${path} is not writable for user ${process.getuid?.() ?? 0}: ${messageOf(error)}`,
    );
  }
}
