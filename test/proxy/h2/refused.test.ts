import http2 from 'node:http2';
import t from 'tap';
import { SECRET } from '../../support/carry.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { answerOf, connectHttp2 } from '../../support/h2-agent.ts';
import { FLAG, type Frame, frame, literals, readUntil, TYPE } from '../../support/h2-frames.ts';
import { startTlsServer } from '../../support/tls-server.ts';
import { Wire } from '../../support/wire.ts';
import { TestWorker } from '../../support/worker.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;

/** What the server does with a request that it has the head of. */
type Reaction = (wire: Wire, stream: number) => void | Promise<void>;

const code = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const reset =
  (value: number): Reaction =>
  (wire, stream) =>
    void wire.socket.write(frame(TYPE.rstStream, 0, stream, code(value)));
const refuse = reset(NGHTTP2_REFUSED_STREAM);
/** A GOAWAY that says that nothing was processed. */
const leave: Reaction = (wire) =>
  void wire.socket.end(frame(TYPE.goaway, 0, 0, Buffer.concat([code(0), code(0)])));
const respond = (wire: Wire, stream: number, text: string): void => {
  const head = frame(TYPE.headers, FLAG.endHeaders, stream, literals([':status', '200']));
  wire.socket.write(Buffer.concat([head, frame(TYPE.data, FLAG.endStream, stream, Buffer.from(text))]));
};
const answer: Reaction = (wire, stream) => respond(wire, stream, 'ok');
/** Reads the body to its end and sends it back. */
const echo: Reaction = async (wire, stream) => {
  let body = '';
  await readUntil(wire, ({ type, flags, payload }) => {
    if (type === TYPE.data) body += payload.toString('latin1');
    return type === TYPE.data && (flags & FLAG.endStream) !== 0;
  });
  respond(wire, stream, body);
};
const afterBody =
  (reaction: Reaction): Reaction =>
  async (wire, stream) => {
    await readUntil(wire, ({ type, payload }) => type === TYPE.data && payload.length > 0);
    await reaction(wire, stream);
  };

/** For each request in turn; `seen` counts them. */
let reactions: Reaction[] = [];
let seen = 0;
const ca = makeCa();
const server = await startTlsServer(
  makeServerCert(ca, 'a.test'),
  async (socket) => {
    socket.write(frame(TYPE.settings, 0, 0));
    const wire = new Wire(socket);
    await wire.read(24); // the preface
    for (;;) {
      const head: Frame | undefined = await readUntil(wire, ({ type }) => type === TYPE.headers);
      if (!head) return;
      seen++;
      await reactions.shift()?.(wire, head.stream);
    }
  },
  { ALPNProtocols: ['h2'] },
);
const worker = await TestWorker.start({
  upstreams: { 'a.test:443': server.port },
  upstreamCa: ca.cert,
  rules: [{ host: 'a.test', http2: true }],
  secrets: { 'credential-1': { token: SECRET } },
});
t.teardown(async () => {
  await worker.stop();
  await server.close();
});

function script(...next: Reaction[]): void {
  reactions = next;
  seen = 0;
}

const request = (method: string, rest = '\r\n'): string => `${method} / HTTP/1.1\r\nHost: a.test\r\n${rest}`;

t.test('what the server has taken nothing of is sent again, whatever its method', async (t) => {
  for (const [what, refusing] of [
    ['REFUSED_STREAM', refuse],
    ['a GOAWAY that leaves it out', leave],
  ] as const) {
    for (const method of ['GET', 'POST']) {
      script(refusing, answer);
      const agent = new Wire(await worker.tunnel('a.test:443'));
      agent.send(request(method));
      t.match(await agent.readTo('ok'), /^HTTP\/1\.1 200 OK\r\n/, `${method}: ${what}`);
      t.equal(seen, 2);
      agent.socket.destroy();
    }
  }
});

t.test('its body follows on the second way, where it had not begun', async (t) => {
  script(refuse, echo);
  const plain = new Wire(await worker.tunnel('a.test:443'));
  plain.send(request('POST', 'Content-Length: 11\r\n\r\n'));
  for (let i = 0; i < 100 && seen < 2; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  plain.send('hello there');
  t.match(await plain.readTo('hello there'), /^HTTP\/1\.1 200/, 'from an agent of HTTP/1.1');
  plain.socket.destroy();

  script(refuse, echo);
  const session = await connectHttp2(worker, 'a.test');
  const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': 'a.test' });
  const coming = answerOf(stream);
  for (let i = 0; i < 100 && seen < 1; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  stream.end('hello there'); // it may come while there is no way for it
  const got = await coming;
  if (got.code === NGHTTP2_REFUSED_STREAM) t.equal(seen, 1, 'it had begun: told to the agent');
  else t.match(got, { body: 'hello there', code: 0 }, 'from an agent of HTTP/2');
  session.destroy();
});

t.test('where it cannot be sent again, the agent is told that it may', async (t) => {
  for (const [what, ...next] of [
    ['its body had begun', afterBody(refuse)],
    ['it was refused twice', refuse, refuse],
  ] as const) {
    const body = what.startsWith('its');
    script(...next);
    const agent = new Wire(await worker.tunnel('a.test:443'));
    agent.send(body ? request('POST', 'Content-Length: 9\r\n\r\nhalf') : request('GET'));
    const problem = await agent.readTo('}');
    t.match(problem, /^HTTP\/1\.1 503 [\s\S]*"code":"upstream_refused".*"retryable":true/, `${what}: 503`);
    t.equal(seen, next.length);
    agent.socket.destroy();

    script(...next);
    const session = await connectHttp2(worker, 'a.test');
    const stream = session.request(
      { ':method': body ? 'POST' : 'GET', ':path': '/', ':authority': 'a.test' },
      { endStream: !body },
    );
    const coming = answerOf(stream);
    if (body) stream.write('half');
    t.match(await coming, { fields: [], code: NGHTTP2_REFUSED_STREAM }, `${what}: REFUSED_STREAM`);
    t.equal(seen, next.length);
    session.destroy();
  }
  t.match(worker.journal, /"type":"outcome".*"error":"upstream_refused"/);
});

t.test('what it may have begun with is not sent again', async (t) => {
  for (const value of [NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL]) {
    script(reset(value), answer);
    const agent = new Wire(await worker.tunnel('a.test:443'));
    agent.send(request('POST'));
    t.match(await agent.readTo('}'), /^HTTP\/1\.1 502 [\s\S]*"code":"upstream_closed"/);
    t.equal(seen, 1);
    agent.socket.destroy();
  }
});
