import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { writeAndWipe, writeTaken } from '../../src/proxy/write-once.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';

const HOST = 'api.example.test';
const authority = makeCa('write-once');

/** Two ends of one connection; `received` resolves with all that the first one gets. */
async function pair(t: Test, secure: boolean) {
  const { cert, key } = makeServerCert(authority, HOST);
  const server = secure ? tls.createServer({ cert, key }) : net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const to = { host: '127.0.0.1', port };
  const client = secure ? tls.connect({ ...to, servername: HOST, ca: authority.cert }) : net.connect(to);
  const [socket]: net.Socket[] = await once(server, secure ? 'secureConnection' : 'connection');
  t.teardown(() => {
    client.destroy();
    server.close();
  });
  if (!socket) throw new Error('no connection');
  const chunks: Buffer[] = [];
  client.on('data', (chunk: Buffer) => chunks.push(chunk));
  const received = once(client, 'end').then(() => Buffer.concat(chunks));
  return { socket, received };
}

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 7 + (i >> 8)) & 0xff;
  return bytes;
}

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

for (const secure of [true, false]) {
  const kind = secure ? 'TLS' : 'TCP';

  t.test(`${kind}: what is overwritten right after the write arrives as it was`, async (t) => {
    const { socket, received } = await pair(t, secure);
    const sizes = [1, 100, 16_384, 16_385, 300_000, 5, 2_000_000, 64];
    const sent = sizes.map((size, index) => pattern(size, index));
    const scratch = Buffer.alloc(2_000_000);
    for (const piece of sent) {
      const view = scratch.subarray(0, piece.copy(scratch));
      writeTaken(socket, view); // all but the first behind one that is in flight
      view.fill(0xee);
    }
    socket.end();
    t.equal(digest(await received), digest(Buffer.concat(sent)));
  });

  t.test(`${kind}: what is written to be wiped arrives, and is wiped`, async (t) => {
    const { socket, received } = await pair(t, secure);
    const head = Buffer.from('Authorization: Bearer secret\r\n');
    const twice = Buffer.concat([head, head]);
    const second = Buffer.from(head);
    writeAndWipe(socket, head);
    if (secure)
      t.ok(
        head.every((byte) => byte === 0),
        'before the call returns, on an idle socket',
      );
    writeAndWipe(socket, second);
    await new Promise<void>((resolve) => socket.end(resolve));
    t.ok(head.every((byte) => byte === 0));
    t.ok(second.every((byte) => byte === 0));
    t.equal(digest(await received), digest(twice));
  });
}
