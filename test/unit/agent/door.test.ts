import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { isRefused } from '../../../runtime/agent/door.js';

const server = createServer();

afterEach(() => {
  server.close();
});

describe('a door', () => {
  it('is refused only where nobody listens', async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const endpoint = `tcp://127.0.0.1:${address.port}`;
    expect(await isRefused(endpoint)).toBe(false);
    server.close();
    await once(server, 'close');
    expect(await isRefused(endpoint)).toBe(true);
  });
});
