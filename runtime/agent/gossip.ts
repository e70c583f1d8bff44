/*
 * The shape of gossip on the wire.
 */
import { MAP_LIMITS } from '../base/map.js';
import { boolean, integer, list, object, real, text } from '../base/schema.js';

const MOST_ENTRIES = 64;

export const readGossip = object({
  entries: list(
    object({
      node: integer(1, MAP_LIMITS.node),
      incarnation: integer(0, Number.MAX_SAFE_INTEGER),
      sequence: integer(0, Number.MAX_SAFE_INTEGER),
      address: text(64),
      load: real(0, 1e6),
      cpus: real(0, 1e6),
      speed: real(0, 1e3),
      memoryTotal: real(0, 1e18),
      memoryFree: real(0, 1e18),
      tasks: integer(0, 1e6),
      draining: boolean,
      ageMs: real(0, 1e12),
    }),
    MOST_ENTRIES,
  ),
});
