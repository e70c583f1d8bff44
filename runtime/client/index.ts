/*
 * The public API: `import { connect } from 'skein'`.
 *
 *     const cluster = await connect();
 *     for (const { node, load } of await cluster.nodes()) console.log(node, load);
 *     await cluster.migrate('1.17', 3);
 *     cluster.close();
 */
export { connect, type ConnectOptions } from './connect.js';
export { Cluster, type CallOptions } from './cluster.js';
export * from './errors.js';
export type * from './types.js';
