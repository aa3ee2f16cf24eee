import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import t from 'tap';
import { Carrier, INJECTED } from '../support/carry.ts';
import { answerOf, connectHttp2 } from '../support/h2-agent.ts';
import {
  FLAG,
  frame,
  goawayCode,
  literals,
  PREFACE,
  readUntil,
  request,
  resetCode,
  TYPE,
} from '../support/h2-frames.ts';
import { Wire } from '../support/wire.ts';

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_PROTOCOL_ERROR } = http2.constants;
const GROWTH_KB = 40 * 1024;

const whole = FLAG.endStream | FLAG.endHeaders;

async function raw(carrier: Carrier, host: string): Promise<Wire> {
  const wire = new Wire(await carrier.worker.tunnel(`${host}:443`, { ALPNProtocols: ['h2'] }));
  wire.socket.on('error', () => {});
  wire.socket.write(PREFACE);
  return wire;
}

/** Writes pieces until `enough` of them are out or the other end has closed; reads what comes back meanwhile. */
async function flood(wire: Wire, enough: number, piece: (index: number) => Buffer): Promise<void> {
  const closed = new Promise((resolve) => wire.socket.once('close', resolve));
  for (let i = 0; i < enough && wire.socket.writable; i++) {
    const taken = wire.socket.write(piece(i));
    if (i % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
    if (taken) continue;
    await Promise.race([closed, new Promise((resolve) => wire.socket.once('drain', resolve))]);
  }
}

t.test('floods end in GOAWAY, and cost the worker no memory', async (t) => {
  const carrier = await Carrier.start(['a.test', 'b.test'], {
    nodeOptions: ['--max-semi-space-size=1'], // what nothing refers to goes soon: what is held is measured
  });
  t.teardown(() => carrier.stop());
  const kb = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${carrier.worker.process.pid}/status`, 'latin1'))?.[1]);
  const warm = await connectHttp2(carrier.worker, 'a.test');
  const answer = answerOf(warm.request({ ':path': '/' }));
  const upstream = await carrier.upstream('a.test');
  await upstream.readTo('\r\n\r\n');
  upstream.send('HTTP/1.1 204 No Content\r\n\r\n');
  await answer;
  const before = kb();

  const head = (id: number): Buffer => frame(TYPE.headers, whole, id, literals(request('a.test')));
  const cancel = (id: number): Buffer => frame(TYPE.rstStream, 0, id, Buffer.from('00000008', 'hex'));
  const bomb = literals(request('a.test', ['x', 'y'.repeat(16_000)]));
  /** A field of 4,000 bytes put into the dynamic table (RFC 7541, 6.2.1), then named 12,000 times by its index. */
  const table = Buffer.concat([Buffer.of(0x40), literals(['x', 'y'.repeat(4_000)]).subarray(1)]);
  const bombOf = (i: number): Buffer =>
    Buffer.concat([literals(request('a.test')), ...(i === 0 ? [table] : []), Buffer.alloc(12_000, 0xbe)]);
  const attacks: readonly [string, number, (index: number) => Buffer, number | undefined][] = [
    [
      'requests that are cancelled at once (CVE-2023-44487)',
      5_000,
      (i) => Buffer.concat([head(2 * i + 1), cancel(2 * i + 1)]),
      NGHTTP2_ENHANCE_YOUR_CALM,
    ],
    [
      'resets that the agent makes us send (CVE-2025-8671)',
      5_000,
      (i) =>
        Buffer.concat([
          head(2 * i + 1),
          frame(TYPE.windowUpdate, 0, 2 * i + 1, Buffer.from('7fffffff', 'hex')),
        ]),
      undefined,
    ],
    [
      'small frames that decode to large heads (HPACK bomb)',
      400,
      (i) => frame(TYPE.headers, whole, 2 * i + 1, bombOf(i)),
      NGHTTP2_ENHANCE_YOUR_CALM,
    ],
    [
      'empty DATA frames (CVE-2019-9518)',
      20_000,
      (i) =>
        i === 0
          ? frame(TYPE.headers, FLAG.endHeaders, 1, literals(request('a.test')))
          : frame(TYPE.data, 0, 1, Buffer.alloc(0)),
      undefined,
    ],
    ['settings', 5_000, () => frame(TYPE.settings, 0, 0), NGHTTP2_ENHANCE_YOUR_CALM],
    ['pings', 5_000, () => frame(TYPE.ping, 0, 0, Buffer.alloc(8)), NGHTTP2_ENHANCE_YOUR_CALM],
    [
      'a head without an end (CONTINUATION)',
      30,
      (i) =>
        i === 0
          ? frame(TYPE.headers, FLAG.endStream, 1, literals(request('a.test')))
          : frame(TYPE.continuation, 0, 1, literals(['x', 'y'.repeat(1_000)])),
      undefined,
    ],
    [
      'empty CONTINUATION frames',
      30,
      (i) =>
        i === 0
          ? frame(TYPE.headers, FLAG.endStream, 1, bomb)
          : frame(TYPE.continuation, 0, 1, Buffer.alloc(0)),
      undefined,
    ],
  ];
  for (const [what, enough, piece, code] of attacks) {
    let got = -1;
    let wire = await raw(carrier, 'a.test');
    // On a busy machine our own writes into what is closed already can end the connection before the GOAWAY is read.
    for (let attempt = 0; attempt < 4 && got < 0; attempt++) {
      if (attempt > 0) wire = await raw(carrier, 'a.test');
      const ended = goawayCode(wire);
      await flood(wire, enough, piece);
      got = await ended;
    }
    if (code !== undefined) t.equal(got, code, `${what}: ENHANCE_YOUR_CALM`);
    else t.ok(got > 0, `${what}: GOAWAY (${got})`);
    t.not((await wire.finish()).ending, 'open', `${what}: closed`);
    t.ok(kb() - before < GROWTH_KB, `${what}: ${Math.round((kb() - before) / 1024)} MiB more than before`);
  }

  const still = await connectHttp2(carrier.worker, 'b.test');
  const answered = answerOf(still.request({ ':path': '/' }));
  const other = await carrier.upstream('b.test');
  await other.readTo('\r\n\r\n');
  other.send('HTTP/1.1 204 No Content\r\n\r\n');
  t.same((await answered).fields, [':status', '204'], 'others are served as before');
  const { limits } = await carrier.worker.metrics();
  t.ok(Number(limits.http2_flood) >= 4, 'they are counted');
  still.destroy();
  warm.destroy();
});

t.test('heads beyond the limits are refused, the connection goes on', async (t) => {
  const carrier = await Carrier.start(['a.test'], { limits: { headBytes: 4_096, headFields: 20 } });
  t.teardown(() => carrier.stop());
  const many = Array.from({ length: 30 }, (_, i) => [`x-${i}`, 'y']).flat();
  const large = ['x', 'y'.repeat(8_000)];
  const agreed = frame(TYPE.settings, FLAG.ack, 0);
  for (const [what, first, more, reset] of [
    ['too large, for an agent that has acknowledged the limit', agreed, large, true],
    ['too large, for one that has not', Buffer.alloc(0), large, false],
    ['too many fields', Buffer.alloc(0), many, true],
  ] as const) {
    const wire = await raw(carrier, 'a.test');
    await readUntil(wire, ({ type, flags }) => type === TYPE.settings && flags === 0);
    wire.socket.write(
      Buffer.concat([first, frame(TYPE.headers, whole, 1, literals(request('a.test', more)))]),
    );
    if (reset) t.equal(await resetCode(wire, 1), NGHTTP2_ENHANCE_YOUR_CALM, what);
    else t.ok(await readUntil(wire, ({ type }) => type === TYPE.headers), `${what}: it is answered`);
    wire.socket.write(frame(TYPE.headers, whole, 3, literals(request('a.test', ['x', 'small']))));
    const upstream = await carrier.upstream('a.test');
    t.match(
      await upstream.readTo('\r\n\r\n'),
      /^GET \/ HTTP\/1\.1\r\nHost: a\.test\r\nx: small\r\n/,
      'the next is carried',
    );
    wire.socket.destroy();
  }
  t.equal(carrier.worker.journal.match(/"reason":"head_too_large"/g)?.length, 1);
});

t.test('what could be another request upstream is none', async (t) => {
  const carrier = await Carrier.start(['a.test', 'b.test']);
  t.teardown(() => carrier.stop());
  const pseudo = (changes: Record<string, string>): string[] => {
    const fields: Record<string, string> = {
      ':method': 'GET',
      ':scheme': 'https',
      ':authority': 'a.test',
      ':path': '/',
      ...changes,
    };
    return Object.entries(fields).flat();
  };
  const smuggled: readonly [string, readonly string[]][] = [
    ['a line break in the path', pseudo({ ':path': '/ HTTP/1.1\r\nHost: b\r\n\r\nGET /evil' })],
    ['a line break in the method', pseudo({ ':method': 'GET / HTTP/1.1\r\nX: y\r\n\r\nGET' })],
    ['a line break in the authority', pseudo({ ':authority': 'a.test\r\nX: y' })],
    ['a space in the path', pseudo({ ':path': '/ HTTP/1.1' })],
    ['upper case in a name', request('a.test', ['Content-Length', '5'])],
    ['Transfer-Encoding', request('a.test', ['transfer-encoding', 'chunked'])],
    ['Connection', request('a.test', ['connection', 'authorization'])],
    ['Upgrade', request('a.test', ['upgrade', 'h2c'])],
    ['TE beyond trailers', request('a.test', ['te', 'gzip'])],
    ['two lengths', request('a.test', ['content-length', '0', 'content-length', '5'])],
    ['a length without a body', request('a.test', ['content-length', '5'])],
    ['a pseudo-header field after others', [...pseudo({}).slice(2), 'x', 'y', ':method', 'GET']],
    ['one twice', [...pseudo({}), ':path', '/b']],
    ['one that nobody knows', [...pseudo({}), ':evil', 'x']],
    ['no path', pseudo({}).slice(0, 6)],
    ['an empty path', pseudo({ ':path': '' })],
    ['no method', pseudo({}).slice(2)],
  ];
  for (const [what, fields] of smuggled) {
    const wire = await raw(carrier, 'a.test');
    wire.socket.write(frame(TYPE.headers, whole, 1, literals(fields)));
    const reset = resetCode(wire, 1);
    t.ok([NGHTTP2_PROTOCOL_ERROR, http2.constants.NGHTTP2_NO_ERROR].includes(await reset), what);
    wire.socket.destroy();
  }
  for (const [what, name, value] of [
    ['a line break in a value', 'x', 'y\r\nGET /evil HTTP/1.1'],
    ['a line break in a name', 'x\r\ny', 'z'],
    ['NUL in a value', 'x', 'y\0'],
    ['a colon in a name', 'x:y', 'z'],
  ] as const) {
    const wire = await raw(carrier, 'b.test');
    wire.socket.write(frame(TYPE.headers, whole, 1, literals(request('b.test', [name, value]))));
    const upstream = await carrier.upstream('b.test');
    t.equal(
      await upstream.readTo('\r\n\r\n'),
      `GET / HTTP/1.1\r\nHost: b.test\r\n${INJECTED}`,
      `${what}: such a field is dropped`,
    );
    wire.socket.destroy();
  }
  // Had one of them gone on, it would have opened a connection to the server.
  t.equal(
    await Promise.race([carrier.upstream('a.test'), new Promise((done) => setTimeout(done, 200))]),
    undefined,
  );
  t.notMatch(carrier.worker.journal, /"host":"a.test".*"decision":"injected"/);
});
