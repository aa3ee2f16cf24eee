import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SECRET } from '../../support/carry.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { portOf, startTlsServer } from '../../support/tls-server.ts';
import { TestWorker } from '../../support/worker.ts';

const HOST = 'a.test';
const missing = ['h2load', 'nghttp'].find((tool) => spawnSync(tool, ['--version']).error);
const skip = missing ? `${missing} is not installed: run scripts/setup --test` : false;

/** A worker with a server of HTTP/1.1 behind, and a port that leads into tunnels, for tools that know no CONNECT. */
async function start(t: Test): Promise<number> {
  const ca = makeCa();
  const server = http.createServer(async (request, response) => {
    let length = 0;
    for await (const chunk of request) length += chunk.length;
    const ours = request.headers.authorization === `Bearer ${SECRET}`;
    response.writeHead(ours ? 200 : 401, { 'content-type': 'text/plain' });
    response.end(`${request.method} ${request.url} ${length} ${JSON.stringify(request.trailers)}\n`);
  });
  const tls = await startTlsServer(makeServerCert(ca, HOST), (socket) => server.emit('connection', socket));
  const worker = await TestWorker.start({
    upstreams: { [`${HOST}:443`]: tls.port },
    upstreamCa: ca.cert,
    rules: [{ host: HOST }],
    secrets: { 'credential-1': { token: SECRET } },
  });
  const entrance = net.createServer({ pauseOnConnect: true }, async (socket) => {
    socket.on('error', () => {});
    const tunnel = await worker.connect(`${HOST}:443`);
    tunnel.on('error', () => {});
    tunnel.pipe(socket);
    socket.pipe(tunnel);
  });
  entrance.listen(0, '127.0.0.1');
  await once(entrance, 'listening');
  t.teardown(async () => {
    entrance.close();
    await worker.stop();
    await tls.close();
  });
  return portOf(entrance);
}

/** Both of what a tool says; rejects where it fails. */
async function run(tool: string, args: readonly string[]): Promise<string> {
  const child = spawn(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${tool} ended with ${code}: ${said}`);
  return said;
}

t.test('h2load and nghttp run clean', { skip }, async (t) => {
  const port = await start(t);
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-h2-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const upload = join(folder, 'upload');
  writeFileSync(upload, Buffer.alloc(1_000_000, 'x'));
  const to = [`--connect-to=127.0.0.1:${port}`, `https://${HOST}/load`];

  const many = await run('h2load', ['-n', '2000', '-c', '5', '-m', '50', ...to]);
  t.match(many, /2000 succeeded, 0 failed, 0 errored, 0 timeout/, 'requests side by side');
  t.match(many, /status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx/);
  const bodies = await run('h2load', ['-n', '40', '-c', '2', '-m', '10', '-d', upload, ...to]);
  t.match(bodies, /40 succeeded, 0 failed, 0 errored, 0 timeout/, 'with bodies of a million bytes');
  t.match(bodies, /status codes: 40 2xx/);

  const url = `https://localhost:${port}/once`;
  const own = ['--no-verify-peer', '-v', '-H', `:authority: ${HOST}`];
  const verbose = await run('nghttp', [...own, url]);
  t.match(verbose, /The negotiated protocol: h2/);
  t.match(verbose, /:status: 200[\s\S]*GET \/once 0 \{\}/);
  t.notMatch(verbose, /\[ERROR\]|RST_STREAM|error_code=(?!NO_ERROR)/, 'no frame that it complains of');
  const trailers = await run('nghttp', [
    ...own,
    '-H',
    ':method: POST',
    '-d',
    upload,
    '--trailer',
    'x-sum: 1',
    url,
  ]);
  t.match(trailers, /:status: 200[\s\S]*POST \/once 1000000/);
  t.notMatch(trailers, /\[ERROR\]|RST_STREAM/);
});
