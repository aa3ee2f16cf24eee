import { once } from 'node:events';
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import type tls from 'node:tls';
import t from 'tap';
import { INJECTED, SECRET } from '../../support/carry.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { answerOf, connectHttp2 } from '../../support/h2-agent.ts';
import { FLAG, frame, literals, TYPE } from '../../support/h2-frames.ts';
import { Http2Server } from '../../support/h2-server.ts';
import { portOf, startTlsServer } from '../../support/tls-server.ts';
import { Wire } from '../../support/wire.ts';
import { TestWorker } from '../../support/worker.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants;
const OK = [':status', '200', 'content-length', '2'];
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n';
const get = (host: string, path = '/'): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

const ca = makeCa();
const certificate = makeServerCert(ca, ['a.test', 'framed.test', 'old.test', 'both.test']);
const server = await Http2Server.start(certificate, { maxConcurrentStreams: 10 });
/** One that speaks HTTP/2 in frames that the test writes: what it does after the head of an answer. */
let afterHead: (socket: tls.TLSSocket) => void = () => {};
const framed = await startTlsServer(
  certificate,
  (socket) => {
    socket.write(frame(TYPE.settings, 0, 0));
    socket.once('data', () => {
      setTimeout(() => {
        const head = frame(TYPE.headers, FLAG.endHeaders, 1, literals([':status', '200']));
        socket.write(Buffer.concat([head, frame(TYPE.data, 0, 1, Buffer.from('hel'))]));
        setTimeout(() => afterHead(socket), 50);
      }, 20);
    });
  },
  { ALPNProtocols: ['h2'] },
);
const old = await startTlsServer(certificate);
/** One that speaks both, and says which it was asked in. */
const both = http2.createSecureServer({ ...certificate, allowHTTP1: true }, (request, response) => {
  response.end(request.httpVersion);
});
both.listen(0, '127.0.0.1');
await once(both, 'listening');
const worker = await TestWorker.start({
  upstreams: {
    'a.test:443': server.port,
    'framed.test:443': framed.port,
    'old.test:443': old.port,
    'both.test:443': portOf(both),
  },
  upstreamCa: ca.cert,
  rules: [
    { host: 'a.test', http2: true },
    { host: 'framed.test', http2: true },
    { host: 'old.test', http2: true },
    { host: 'both.test' },
  ],
  secrets: { 'credential-1': { token: SECRET } },
});
t.teardown(async () => {
  await worker.stop();
  both.close();
  await Promise.all([server.close(), framed.close(), old.close()]);
});

const agent = async (host: string): Promise<Wire> => new Wire(await worker.tunnel(`${host}:443`));

t.test('requests share a connection, as many at once as the server takes', async (t) => {
  const agents = await Promise.all(Array.from({ length: 15 }, () => agent('a.test')));
  for (const [i, wire] of agents.entries()) wire.send(get('a.test', `/${i}`));
  const requests = await Promise.all(agents.map(() => server.request()));
  for (const { stream } of requests) {
    stream.respond(OK);
    stream.end('ok');
  }
  for (const wire of agents) t.match(await wire.readTo('ok'), /^HTTP\/1\.1 200 OK\r\n/);
  t.ok(
    server.accepted >= 2 && server.accepted < 15,
    `${server.accepted} connections for 15 requests, 10 on one`,
  );
  for (const wire of agents) wire.socket.destroy();
});

t.test('an answer that is cut does not look whole, whatever it is cut with', async (t) => {
  const reset = (code: number) => (socket: tls.TLSSocket) =>
    void socket.write(frame(TYPE.rstStream, 0, 1, Buffer.from([0, 0, 0, code])));
  for (const [what, how] of [
    ['RST_STREAM with NO_ERROR', reset(NGHTTP2_NO_ERROR)],
    ['RST_STREAM with CANCEL', reset(NGHTTP2_CANCEL)],
    ['RST_STREAM with INTERNAL_ERROR', reset(NGHTTP2_INTERNAL_ERROR)],
    ['a close_notify', (socket: tls.TLSSocket) => void socket.end()],
    ['an end of the connection', (socket: tls.TLSSocket) => void socket.destroy()],
    [
      'GOAWAY and the end',
      (socket: tls.TLSSocket) => void socket.end(frame(TYPE.goaway, 0, 0, Buffer.alloc(8))),
    ],
  ] as const) {
    afterHead = how;
    const wire = await agent('framed.test');
    wire.send(get('framed.test'));
    t.equal(await wire.readTo('hel\r\n'), CHUNKED, what);
    t.same(await wire.finish(), { ending: 'cut', rest: '' }, `${what}: no last chunk`);
    framed.reset();
  }
});

t.test('a request that breaks off is never whole to the server', async (t) => {
  const head = 'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n';
  for (const [what, leave] of [
    ['an agent of HTTP/1.1 that goes', (wire: Wire) => wire.socket.destroy()],
    ['one that sends a malformed chunk', (wire: Wire) => wire.send('zz\r\n')],
  ] as const) {
    const wire = await agent('a.test');
    wire.send(head);
    const { stream } = await server.request();
    await once(stream, 'data');
    let ended = false;
    stream.on('end', () => {
      ended = stream.rstCode === NGHTTP2_NO_ERROR;
    });
    const closed = new Promise((resolve) => stream.once('close', resolve));
    leave(wire);
    await closed;
    t.not(stream.rstCode, NGHTTP2_NO_ERROR, `${what}: RST_STREAM`);
    t.notOk(ended, `${what}: no end of the body`);
    wire.socket.destroy();
  }
  const session = await connectHttp2(worker, 'a.test');
  for (const error of [undefined, new Error('broken')]) {
    const sending = session.request({ ':path': '/', ':method': 'POST', ':authority': 'a.test' });
    sending.on('error', () => {});
    sending.write('hel');
    const { stream } = await server.request();
    await once(stream, 'data');
    const closed = new Promise((resolve) => stream.once('close', resolve));
    sending.destroy(error);
    await closed;
    t.not(
      stream.rstCode,
      NGHTTP2_NO_ERROR,
      `an agent of HTTP/2 that resets it, with ${error ? 'an' : 'no'} error`,
    );
  }
  session.destroy();
});

t.test('HTTP/2 on both ways: side by side, resets, flow control', async (t) => {
  const session = await connectHttp2(worker, 'a.test');
  const fields = { ':authority': 'a.test', ':method': 'POST' };
  const stream = session.request({ ...fields, ':path': '/both' });
  const coming = answerOf(stream);
  const there = await server.request();
  there.stream.respond([':status', '200']);
  for (const word of ['one', 'two']) {
    stream.write(word);
    t.equal(String((await once(there.stream, 'data'))[0]), word);
    const back = once(stream, 'data');
    there.stream.write(word.toUpperCase());
    t.equal(String((await back)[0]), word.toUpperCase());
  }
  stream.end();
  await once(there.stream, 'end');
  there.stream.end();
  t.match(await coming, { body: 'ONETWO', code: NGHTTP2_NO_ERROR });

  const cancelled = session.request({ ...fields, ':path': '/cancelled' });
  cancelled.on('error', () => {});
  const going = await server.request();
  const closed = new Promise((resolve) => going.stream.once('close', resolve));
  const begun = performance.now();
  cancelled.close(NGHTTP2_CANCEL);
  await closed;
  t.ok(performance.now() - begun < 100, 'the agent’s reset cancels the server’s request');

  const down = session.request({ ...fields, ':path': '/down' }, { endStream: true });
  const source = await server.request();
  source.stream.respond([':status', '200']);
  const piece = Buffer.alloc(64 * 1024, 'x');
  let written = 0;
  while (written < 64 * 1024 * 1024) {
    written += piece.length;
    if (source.stream.write(piece)) continue;
    if (!(await Promise.race([once(source.stream, 'drain'), delay(400, false)]))) break;
  }
  t.ok(written < 16 * 1024 * 1024, `who is not read stops, after ${written >> 10} KiB`);
  let got = 0;
  down.on('data', (chunk: Buffer) => {
    got += chunk.length;
  });
  source.stream.end();
  await once(down, 'end');
  t.equal(got, written);
  session.destroy();
});

t.test('a server that speaks both is asked in HTTP/1.1, where secrets stay bytes', async (t) => {
  const wire = await agent('both.test');
  wire.send(get('both.test'));
  t.match(await wire.readTo('\r\n\r\n1.1'), /\r\n\r\n1\.1$/, 'for an agent of HTTP/1.1');
  wire.socket.destroy();
  const session = await connectHttp2(worker, 'both.test');
  const { body } = await answerOf(session.request({ ':path': '/', ':authority': 'both.test' }));
  t.equal(body, '1.1', 'and of HTTP/2');
  session.destroy();
});

t.test('a server that says GOAWAY is left for a new connection', async (t) => {
  const wire = await agent('a.test');
  wire.send(get('a.test'));
  const first = await server.request();
  const before = server.accepted;
  first.stream.session?.close();
  for (const session of server.sessions) session.close();
  await delay(50);
  first.stream.respond(OK);
  first.stream.end('ok');
  t.match(await wire.readTo('ok'), /^HTTP\/1\.1 200/, 'what it had taken is answered');
  wire.send(get('a.test'));
  const second = await server.request();
  second.stream.respond(OK);
  second.stream.end('ok');
  t.match(await wire.readTo('ok'), /^HTTP\/1\.1 200/);
  t.equal(server.accepted, before + 1);
  wire.socket.destroy();
});

t.test(
  'a WebSocket of such a service is begun in HTTP/1.1; a server without HTTP/2 is told of',
  async (t) => {
    const wire = await agent('old.test');
    wire.send(get('old.test'));
    t.match(await wire.readTo('}'), /^HTTP\/1\.1 502 .*"code":"upstream_/s);
    const asked = new Promise<string>((resolve) => {
      old.server.once('secureConnection', (socket: tls.TLSSocket) =>
        socket.once('data', (chunk) => resolve(String(chunk))),
      );
    });
    const fields = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
    wire.send(
      `GET / HTTP/1.1\r\nHost: old.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${fields}\r\n`,
    );
    const [identity, authorization] = INJECTED.split('\r\n');
    t.equal(
      await asked,
      `GET / HTTP/1.1\r\nHost: old.test\r\nUpgrade: websocket\r\n${fields}${identity}\r\nConnection: Upgrade\r\n${authorization}\r\n\r\n`,
    );
    wire.socket.destroy();
  },
);

t.test('after all of that the worker answers', async (t) => {
  const wire = await agent('a.test');
  wire.send(get('other.test'));
  t.match(await wire.readTo('}', 2_000), /^HTTP\/1\.1 421 /);
  wire.socket.destroy();
});
