import type { NodeInfo } from '../../../runtime/client/index.js';

/** A node as the agent tells of it; alive and idle if nothing else is said. */
export function node(number: number, fields: Partial<NodeInfo> = {}): NodeInfo {
  return {
    node: number,
    address: `127.0.0.${number % 256}`,
    state: 'alive',
    load: 0,
    speed: 1,
    cpus: 1,
    memoryTotal: 8e9,
    memoryFree: 4e9,
    tasks: 0,
    ageMs: 400,
    ...fields,
  };
}
