import http2 from 'node:http2';
import t from 'tap';
import { Carrier } from '../support/carry.ts';
import { answerOf, connectHttp2 } from '../support/h2-agent.ts';
import { HTTP2, type Http2Row } from './http2.ts';

const { NGHTTP2_NO_ERROR } = http2.constants;

/** "HOST" in a row is the row's own host. */
function placed(row: Http2Row, host: string): Http2Row {
  return JSON.parse(JSON.stringify(row).replaceAll('HOST', host));
}

/** The fields of the request in their order: what a row does not name is what every request has. */
function fieldsOf({ fields = [] }: Http2Row, host: string): string[] {
  const given = (name: string): string | undefined => {
    const at = fields.indexOf(name);
    return at < 0 ? undefined : fields[at + 1];
  };
  const pseudo = [':method', given(':method') ?? 'GET', ':authority', given(':authority') ?? host];
  if (given(':method') !== 'CONNECT') {
    pseudo.push(':scheme', given(':scheme') ?? 'https', ':path', given(':path') ?? '/');
  }
  const rest: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (!fields[i]?.startsWith(':')) rest.push(fields[i] ?? '', fields[i + 1] ?? '');
  }
  return [...pseudo, ...rest];
}

t.test('each row’s request over HTTP/2 and its answer, a server of HTTP/1.1 behind', async (t) => {
  const hosts = HTTP2.map((_, index) => `row${index}.test`);
  const carrier = await Carrier.start(hosts);
  t.teardown(() => carrier.stop());
  for (const [index, given] of HTTP2.entries()) {
    const host = hosts[index] ?? '';
    const row = placed(given, host);
    const session = await connectHttp2(carrier.worker, host);
    const { body, trailers } = row;
    const stream = session.request(fieldsOf(row, host), {
      endStream: body === undefined,
      waitForTrailers: trailers !== undefined,
    });
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (body !== undefined) stream.end(body, 'latin1');
    const coming = answerOf(stream);
    if (row.upstreamGets !== undefined) {
      const upstream = await carrier.upstream(host);
      t.equal(await upstream.read(row.upstreamGets.length), row.upstreamGets, `${row.item}: ${row.says}`);
      upstream.send(row.answer ?? '');
      if (row.ends) upstream.socket.end();
    }
    const got = await coming;
    const isProblem = ['refusal', 'failure'].includes(row.item);
    const expected = { interim: [], body: '', trailers: [], code: NGHTTP2_NO_ERROR, ...row.gets };
    if (isProblem) {
      t.same(got.fields.slice(0, 2), expected.fields, `${row.item}: ${row.says}`);
      t.match(got.body, /"code":"\w+"/);
    } else {
      t.same(got, expected, `${row.item}: ${row.says}`);
    }
    session.destroy();
  }
});
