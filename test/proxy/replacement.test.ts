import { once } from 'node:events';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { makeCa, makeServerCert } from '../support/certificates.ts';
import { startTlsServer } from '../support/tls-server.ts';
import { TestWorker } from '../support/worker.ts';

const HOST = 'api.example.test';
const GET = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const ca = makeCa();
const missing = new SallyportError('credential_missing', 'That version has been replaced.');

/** Answers with the credential that came, reversed so that it is not overwritten on its way to the agent. */
const server = await startTlsServer(makeServerCert(ca, HOST), (socket) => {
  socket.on('data', (chunk: Buffer) => {
    const value = /Authorization: Bearer (\S+)/.exec(chunk.toString('latin1'))?.[1] ?? '';
    const body = [...value].reverse().join('');
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  });
});
t.teardown(() => server.close());

async function start(refuse: (version: number) => SallyportError | undefined): Promise<TestWorker> {
  const worker = await TestWorker.start({
    upstreams: { [`${HOST}:443`]: server.port },
    upstreamCa: ca.cert,
    rules: [{ host: HOST }],
    secrets: { 'credential-1': { token: 'secret-of-some-length' } },
    refuse: ({ version }) => refuse(version),
  });
  t.teardown(() => worker.stop());
  return worker;
}

const replaced = (worker: TestWorker): Promise<void> =>
  worker.change(({ rules }) => ({ rules: rules.map((rule) => ({ ...rule, version: rule.version + 1 })) }));

t.test('a request whose credential is replaced while it is prepared goes out with the new one', async (t) => {
  let asked = 0;
  const worker = await start((version) => {
    asked++;
    if (version > 1) return undefined;
    setTimeout(() => void replaced(worker), 50); // the vault has it already; its policy is on the way
    return missing;
  });
  const tunnel = await worker.tunnel(`${HOST}:443`);
  tunnel.write(GET);
  const [answer]: Buffer[] = await once(tunnel, 'data');
  t.match(String(answer), /^HTTP\/1\.1 200 OK\r\n[\s\S]*htgnel-emos-fo-terces$/);
  t.equal(asked, 2);
  t.match(worker.journal, /"version":2,"decision":"injected"/);
  t.notMatch(worker.journal, /"version":1,"decision":"injected"/);
});

t.test('one that is missing and stays so is refused, after a moment', async (t) => {
  const worker = await start(() => missing);
  const tunnel = await worker.tunnel(`${HOST}:443`);
  tunnel.write(GET);
  const [answer]: Buffer[] = await once(tunnel, 'data');
  t.match(String(answer), /^HTTP\/1\.1 403 [\s\S]*"code":"credential_missing"/);
});

t.test('nor is a credential that is replaced again and again waited for without end', async (t) => {
  const worker = await start(() => {
    setTimeout(() => void replaced(worker), 10);
    return missing;
  });
  const tunnel = await worker.tunnel(`${HOST}:443`);
  tunnel.write(GET);
  const [answer]: Buffer[] = await once(tunnel, 'data');
  t.match(String(answer), /^HTTP\/1\.1 403 [\s\S]*"code":"credential_missing"/);
});
