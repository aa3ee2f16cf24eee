import t from 'tap';
import { SECRET } from '../support/carry.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { Http2Server } from '../support/h2-server.ts';
import { Wire } from '../support/wire.ts';
import { TestWorker } from '../support/worker.ts';
import { SERVERS, type ServerRow } from './http2-servers.ts';

const HOST = 'rows.test';

function placed(row: ServerRow): ServerRow {
  return JSON.parse(JSON.stringify(row).replaceAll('HOST', HOST));
}

t.test('each row’s request of HTTP/1.1, a server of HTTP/2 behind', async (t) => {
  const ca = makeCa();
  const server = await Http2Server.start(makeServerCert(ca, HOST));
  const worker = await TestWorker.start({
    upstreams: { [`${HOST}:443`]: server.port },
    upstreamCa: ca.cert,
    rules: [{ host: HOST, http2: true }],
    secrets: { 'credential-1': { token: SECRET } },
  });
  t.teardown(async () => {
    await worker.stop();
    await server.close();
  });
  const agent = new Wire(await worker.tunnel(`${HOST}:443`));
  for (const row of SERVERS.map(placed)) {
    agent.send(row.sends);
    const { stream, fields, sensitive } = await server.request();
    let body = '';
    let trailers: readonly string[] = [];
    stream.on('trailers', (_headers, _flags, raw) => {
      trailers = raw;
    });
    for await (const chunk of stream) body += String(chunk);
    const { body: expectedBody = '', trailers: expectedTrailers = [] } = row;
    t.same(
      { fields, body, trailers },
      { fields: row.fields, body: expectedBody, trailers: expectedTrailers },
      row.says,
    );
    t.same(sensitive, ['authorization'], 'the credential is in no HPACK table');
    for (const [, status, ...rest] of row.interim ?? []) {
      stream.additionalHeaders(Object.fromEntries([[':status', Number(status)], rest]));
    }
    const { content = '', answerTrailers } = row;
    if (answerTrailers) stream.on('wantTrailers', () => stream.sendTrailers(answerTrailers));
    const noDate = {
      sendDate: false,
      endStream: content === '',
      waitForTrailers: answerTrailers !== undefined,
    };
    stream.respond(row.answer, noDate);
    if (content !== '') stream.end(content, 'latin1');
    t.equal(await agent.read(row.gets.length), row.gets, row.says);
  }
  t.equal(server.accepted, 1, 'all of them on one connection');
});
