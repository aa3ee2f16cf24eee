import { hash } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Carrier, INJECTED, SECRET } from '../../support/carry.ts';
import { answerOf, connectHttp2 } from '../../support/h2-agent.ts';
import { FLAG, frame, literals, PREFACE, readUntil, request, TYPE } from '../../support/h2-frames.ts';
import { Wire } from '../../support/wire.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR } = http2.constants;
const HOSTS = [
  'side',
  'reset',
  'flow',
  'early',
  'expect',
  'kept',
  'gone',
  'socket',
  'last',
  'cut',
  'events',
  'talk',
].map((name) => `${name}.test`);
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
/** Beyond every window and buffer on the way. */
const MUCH = 8 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, 'x');

const carrier = await Carrier.start(HOSTS);
t.teardown(() => carrier.stop());

/** Sends a request without a body and, once the server has it, the beginning of its answer. */
async function open(session: http2.ClientHttp2Session, host: string, path: string, answer: string) {
  const stream = session.request({ ':path': path });
  const coming = answerOf(stream);
  const begun = new Promise((resolve) => stream.once('response', resolve));
  const upstream = await carrier.upstream(host);
  await upstream.readTo('\r\n\r\n');
  upstream.send(answer);
  if (answer !== '') await begun;
  return { stream, coming, upstream };
}

/** Writes until nothing is taken any more, at most `MUCH`; returns how much it was. */
async function writeAll(stream: NodeJS.WritableStream): Promise<number> {
  let written = 0;
  while (written < MUCH) {
    written += PIECE.length;
    if (stream.write(PIECE)) continue;
    const drained = new Promise((resolve) => stream.once('drain', () => resolve(true)));
    if (!(await Promise.race([drained, delay(400, false)]))) break;
  }
  return written;
}

t.test('requests run side by side, each answered when its answer comes', async (t) => {
  const session = await connectHttp2(carrier.worker, 'side.test');
  const answers = Array.from({ length: 20 }, (_, i) => answerOf(session.request({ ':path': `/${i}` })));
  const servers = await Promise.all(
    answers.map(async () => {
      const upstream = await carrier.upstream('side.test');
      return { upstream, path: / (\/\d+) /.exec(await upstream.readTo('\r\n\r\n'))?.[1] ?? '' };
    }),
  );
  t.equal(
    new Set(servers.map(({ path }) => path)).size,
    20,
    'all are with the server before one is answered',
  );
  for (const { upstream, path } of servers.toReversed()) {
    upstream.send(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
  }
  t.same(
    (await Promise.all(answers)).map(({ body }) => body),
    answers.map((_, i) => `/${i}`),
  );
  const again = answerOf(session.request({ ':path': '/again' }));
  const heads = servers.map(async ({ upstream }) => {
    if ((await upstream.readTo('\r\n\r\n', 1_000)) !== '') upstream.send(OK);
  });
  t.equal((await again).body, 'ok', 'a connection to the server is used again');
  session.destroy();
  await Promise.all(heads);
});

t.test('a reset goes on to the other side, and touches no other stream', async (t) => {
  const session = await connectHttp2(carrier.worker, 'reset.test');
  const other = await open(session, 'reset.test', '/other', '');
  for (const answer of ['', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf']) {
    const cancelled = await open(session, 'reset.test', '/cancelled', answer);
    const begun = performance.now();
    cancelled.stream.close(NGHTTP2_CANCEL);
    t.not((await cancelled.upstream.finish()).ending, 'open');
    t.ok(performance.now() - begun < 100, 'the agent’s reset cancels the server’s request');
    const broken = await open(session, 'reset.test', '/broken', answer);
    broken.upstream.socket.destroy();
    const { fields, code } = await broken.coming;
    if (answer === '')
      t.same(fields.slice(0, 2), [':status', '502'], 'a server that goes before its answer: 502');
    else t.equal(code, NGHTTP2_INTERNAL_ERROR, 'a server that goes within its answer resets the stream');
  }
  other.upstream.send(OK);
  t.equal((await other.coming).body, 'ok', 'the other stream is answered');
  session.request({ ':path': '/last' }).on('error', () => {});
  t.match(await other.upstream.readTo('\r\n\r\n'), /^GET \/last /);
  session.destroy();
  t.not((await other.upstream.finish()).ending, 'open', 'with the connection all its requests go');
});

t.test('an answer that is cut does not look whole', async (t) => {
  const wire = new Wire(await carrier.worker.tunnel('cut.test:443', { ALPNProtocols: ['h2'] }));
  const head = literals(request('cut.test'));
  wire.socket.write(Buffer.concat([PREFACE, frame(TYPE.headers, FLAG.endStream | FLAG.endHeaders, 1, head)]));
  const upstream = await carrier.upstream('cut.test');
  await upstream.readTo('\r\n\r\n');
  upstream.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n');
  await readUntil(wire, ({ type }) => type === TYPE.data);
  upstream.socket.end();
  const next = await readUntil(wire, ({ stream }) => stream === 1);
  t.same(
    [next?.type, next?.payload.readUInt32BE(0)],
    [TYPE.rstStream, NGHTTP2_INTERNAL_ERROR],
    'no END_STREAM before',
  );
  wire.socket.destroy();
});

t.test('who does not read stops who writes, on both ways', async (t) => {
  const session = await connectHttp2(carrier.worker, 'flow.test');
  const down = session.request({ ':path': '/down' });
  const begun = new Promise((resolve) => down.once('response', resolve));
  const first = await carrier.upstream('flow.test');
  await first.readTo('\r\n\r\n');
  first.send(`HTTP/1.1 200 OK\r\nContent-Length: ${MUCH}\r\n\r\n`);
  await begun;
  const written = await writeAll(first.socket);
  t.ok(written < MUCH, `the server stops after ${written >> 10} KiB`);

  const up = session.request({ ':path': '/up', ':method': 'POST' });
  const answered = answerOf(up);
  const second = await carrier.upstream('flow.test');
  await second.readTo('\r\n\r\n');
  second.socket.pause();
  const sent = await writeAll(up);
  t.ok(sent < MUCH, `the agent stops after ${sent >> 10} KiB`);

  let got = 0;
  down.on('data', (chunk: Buffer) => {
    got += chunk.length;
  });
  first.socket.write(Buffer.alloc(MUCH - written, 'x'));
  await new Promise((resolve) => down.once('end', resolve));
  t.equal(got, MUCH, 'all of the answer arrives once it is read');
  let received = 0;
  second.socket.removeAllListeners('data');
  second.socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (chunk.subarray(-5).toString('latin1') === '0\r\n\r\n') second.send(OK);
  });
  second.socket.resume();
  up.end();
  t.equal((await answered).body, 'ok');
  t.ok(received >= sent, 'and all of the request');
  session.destroy();
});

t.test('an answer before the end of the body ends the stream', async (t) => {
  const session = await connectHttp2(carrier.worker, 'early.test');
  const stream = session.request({ ':path': '/', ':method': 'POST' });
  stream.write('begun');
  const coming = answerOf(stream);
  const upstream = await carrier.upstream('early.test');
  await upstream.readTo('begun\r\n');
  upstream.send('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
  const expected = { fields: [':status', '413', 'content-length', '2'], body: 'no', code: NGHTTP2_NO_ERROR };
  t.match(await coming, expected, 'whole, and the rest of the request is not wanted');
  t.not((await upstream.finish()).ending, 'open', 'the server’s connection is not used again');
  session.destroy();
});

t.test('100-continue, end to end', async (t) => {
  const session = await connectHttp2(carrier.worker, 'expect.test');
  const stream = session.request({
    ':path': '/',
    ':method': 'PUT',
    expect: '100-continue',
    'content-length': 5,
  });
  const coming = answerOf(stream);
  const upstream = await carrier.upstream('expect.test');
  const head = 'PUT / HTTP/1.1\r\nHost: expect.test:443\r\nexpect: 100-continue\r\ncontent-length: 5\r\n';
  t.equal(await upstream.readTo('\r\n\r\n'), head + INJECTED);
  const continued = new Promise((resolve) => stream.once('continue', resolve));
  upstream.send('HTTP/1.1 100 Continue\r\n\r\n');
  await continued;
  stream.end('hello');
  t.equal(await upstream.read(5), 'hello');
  upstream.send(OK);
  t.equal((await coming).body, 'ok');
  session.destroy();
});

t.test('a stream that loses its right is closed, its connection goes on', async (t) => {
  const sessions = await Promise.all(
    ['kept.test', 'gone.test'].map((host) => connectHttp2(carrier.worker, host)),
  );
  const [kept, gone] = sessions;
  if (!kept || !gone) throw new Error('no sessions');
  const answer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n';
  const staying = await open(kept, 'kept.test', '/events', answer);
  const going = await open(gone, 'gone.test', '/events', answer);
  await carrier.worker.change(({ rules }) => ({
    rules: rules.filter(({ hosts }) => hosts[0]?.pattern !== 'gone.test'),
  }));
  t.equal((await going.coming).code, NGHTTP2_INTERNAL_ERROR);
  t.not((await going.upstream.finish(500)).ending, 'open');
  const refused = await answerOf(gone.request({ ':path': '/' }));
  t.same(refused.fields.slice(0, 2), [':status', '403'], 'its connection says why the next one is refused');
  t.match(refused.body, /"code":"\w+"/);
  staying.upstream.send('0\r\n\r\n');
  t.match(await staying.coming, { body: 'hi', code: NGHTTP2_NO_ERROR }, 'the other goes on');
  t.match(carrier.worker.journal, /"type":"outcome".*"status":null,"error":"policy_denied"/);
  for (const session of sessions) session.destroy();
});

t.test('WebSocket by extended CONNECT (RFC 8441)', async (t) => {
  const session = await connectHttp2(carrier.worker, 'socket.test');
  if (!session.remoteSettings?.enableConnectProtocol) {
    await new Promise((resolve) => session.once('remoteSettings', resolve));
  }
  t.equal(session.remoteSettings.enableConnectProtocol, true, 'it is offered');
  const ask = async () => {
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/chat',
      ':scheme': 'https',
      ':authority': 'socket.test',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'a',
      'sec-websocket-extensions': 'permessage-deflate',
    });
    const upstream = await carrier.upstream('socket.test');
    const head = await upstream.readTo('\r\n\r\n');
    return { stream, upstream, head, key: /^Sec-WebSocket-Key: (.*)\r$/m.exec(head)?.[1] ?? '' };
  };
  const { stream, upstream, head, key } = await ask();
  t.equal(
    head.replace(key, 'KEY'),
    `GET /chat HTTP/1.1\r\nHost: socket.test\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: a\r\nUpgrade: websocket\r\nSec-WebSocket-Key: KEY\r\nAccept-Encoding: identity\r\nConnection: Upgrade\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
  );
  const accept = hash('sha1', `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');
  const response = new Promise((resolve) => stream.once('response', (_headers, _flags, raw) => resolve(raw)));
  upstream.send(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: a\r\n\r\n`,
  );
  t.same(await response, [':status', '200', 'sec-websocket-protocol', 'a']);
  const size = String.fromCharCode(SECRET.length);
  let received = '';
  stream.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
  });
  stream.write('\x81\x85\0\0\0\0hello', 'latin1');
  t.equal(await upstream.read(11), '\x81\x85\0\0\0\0hello');
  upstream.send(`\x81${size}${SECRET}`);
  for (let i = 0; i < 100 && received.length < 2 + SECRET.length; i++) await delay(10);
  t.equal(
    received,
    `\x81${size}${'*'.repeat(SECRET.length)}`,
    'frames both ways, the credential overwritten',
  );
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.end();
  t.equal((await upstream.finish()).ending, 'closed', 'the agent’s end is told to the server');
  upstream.socket.end();
  await closed;
  t.equal(stream.rstCode, NGHTTP2_NO_ERROR);

  const refused = await ask();
  const coming = answerOf(refused.stream);
  refused.upstream.send('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  t.same((await coming).fields, [':status', '403', 'content-length', '2'], 'a server that refuses is heard');
  session.destroy();
});

t.test('each event of a stream is with the agent before the next one is sent', async (t) => {
  const session = await connectHttp2(carrier.worker, 'events.test');
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
  const { stream, upstream } = await open(session, 'events.test', '/events', head);
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const event = `data: ${i}\n\n`;
    const arrived = once(stream, 'data');
    const begun = performance.now();
    upstream.send(`${event.length.toString(16)}\r\n${event}\r\n`);
    if (String((await arrived)[0]) !== event) t.fail('another event');
    times.push(performance.now() - begun);
  }
  const median = times.sort((a, b) => a - b)[25] ?? 0;
  t.ok(median < 20, `after ${median.toFixed(1)} ms, by the median`); // 1 ms where nobody else works
  session.destroy();
});

t.test('a WebSocket over HTTP/2 is closed when its right goes', async (t) => {
  const session = await connectHttp2(carrier.worker, 'talk.test');
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/',
    ':scheme': 'https',
    ':authority': 'talk.test',
    'sec-websocket-version': '13',
  });
  const closing = answerOf(stream);
  const upstream = await carrier.upstream('talk.test');
  const key = /^Sec-WebSocket-Key: (.*)\r$/m.exec(await upstream.readTo('\r\n\r\n'))?.[1] ?? '';
  const accept = hash('sha1', `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');
  const begun = once(stream, 'response');
  upstream.send(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  await begun;
  await carrier.worker.change(({ rules }) => ({
    rules: rules.filter(({ hosts }) => hosts[0]?.pattern !== 'talk.test'),
  }));
  t.equal((await closing).code, NGHTTP2_INTERNAL_ERROR, 'to the agent');
  t.not((await upstream.finish(500)).ending, 'open', 'and to the server');
  session.destroy();
});

t.test('a worker that stops says GOAWAY, and finishes what it has', async (t) => {
  const session = await connectHttp2(carrier.worker, 'last.test');
  const { coming, upstream } = await open(session, 'last.test', '/', '');
  const goaway = new Promise((resolve) => session.once('goaway', resolve));
  const closed = new Promise((resolve) => session.once('close', resolve));
  carrier.worker.channel.event({ type: 'drain' });
  t.equal(await goaway, NGHTTP2_NO_ERROR);
  upstream.send(OK);
  t.equal((await coming).body, 'ok');
  await closed;
});
