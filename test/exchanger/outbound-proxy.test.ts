import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import t from 'tap';
import { OutboundProxy } from '../../src/exchanger/outbound-proxy.ts';
import { post } from '../../src/exchanger/post.ts';
import { AddressGuard } from '../../src/upstream/address-guard.ts';
import { Connector } from '../../src/upstream/connect.ts';
import { Resolver } from '../../src/upstream/resolve.ts';
import { createTrust } from '../../src/upstream/trust.ts';
import { portOf } from '../support/tls-server.ts';
import { startTokenEndpoint } from '../support/token-endpoint.ts';

t.setTimeout(60_000);
const endpoint = await startTokenEndpoint();
const asked: { to: string; authorization: string | undefined }[] = [];
let refuseWith = 0;
/** A company's proxy: every name leads to the endpoint. */
const proxy = http.createServer();
proxy.on('connect', ({ url = '', headers }, socket) => {
  asked.push({ to: url, authorization: headers['proxy-authorization'] });
  socket.on('error', () => {});
  if (refuseWith < 0) return;
  if (refuseWith > 0) return socket.end(`HTTP/1.1 ${refuseWith} No\r\nContent-Length: 0\r\n\r\n`);
  const upstream = net.connect(endpoint.upstream.port, '127.0.0.1');
  upstream.on('error', () => socket.destroy());
  socket.write('HTTP/1.1 200 Connected\r\n\r\n');
  socket.pipe(upstream).pipe(socket);
});
proxy.listen(0, '127.0.0.1');
await once(proxy, 'listening');
t.teardown(async () => {
  proxy.closeAllConnections();
  proxy.close();
  await endpoint.close();
});

const resolver = new Resolver({ overrides: [], timeoutMs: 5_000, maxConcurrentPerAgent: 1 });
const { secureContext } = createTrust({ system: '', extra: endpoint.ca.cert });
const connect = (host: string, user: string | null = null, timeoutMs = 5_000) => {
  const connector = new Connector({
    guard: new AddressGuard({ allow: [], ownListeners: [] }),
    resolver,
    timeoutMs,
    proxy: new OutboundProxy({
      host: '127.0.0.1',
      port: portOf(proxy),
      user,
      password: 'pass:word\n',
      resolver,
    }),
  });
  return connector.connect({ host, port: 443, agent: '', secureContext, onSession: () => {} });
};

t.test('a token endpoint is reached through the proxy, and verified behind it', async (t) => {
  endpoint.answer({ access_token: 'a' });
  const socket = await connect('token.test', 'me');
  const request = {
    host: 'token.test',
    path: '/token',
    headers: { 'content-length': '0' },
    body: Buffer.alloc(0),
  };
  const { status, body } = await post(socket, request, AbortSignal.timeout(5_000));
  t.match({ status, body: String(body) }, { status: 200, body: '{"access_token":"a"}' });
  const pair = Buffer.from('me:pass:word').toString('base64');
  t.same(asked, [{ to: 'token.test:443', authorization: `Basic ${pair}` }]);
  await t.rejects(connect('other-name.test'), { code: 'upstream_untrusted' });
  t.same(asked.at(-1), { to: 'other-name.test:443', authorization: undefined });
});

t.test('what the proxy refuses, or does not answer, is given up', async (t) => {
  refuseWith = 407;
  await t.rejects(connect('token.test'), { code: 'upstream_unreachable', message: /answered 407/ });
  refuseWith = -1;
  await t.rejects(connect('token.test', null, 300), { code: /upstream_(timeout|unreachable)/ });
  refuseWith = 0;
  const before = asked.length;
  for (const host of ['127.0.0.1', '169.254.169.254', 'localhost', 'metadata.google.internal'])
    await t.rejects(connect(host), { code: 'address_forbidden' }, host);
  t.equal(asked.length, before, 'and is not asked for what is never dialled');
});
