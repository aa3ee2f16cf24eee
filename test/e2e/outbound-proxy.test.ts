import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../support/curl.ts';
import { startScene } from '../support/scene.ts';
import { portOf } from '../support/tls-server.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(120_000);

const PASSWORD = 'outbound-0123456789abcdef0123456789';
const asked: string[] = [];
let leadsTo = 0;
const company = createServer();
company.on('connect', (request, socket) => {
  asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
  const upstream = net.connect(leadsTo, '127.0.0.1');
  for (const end of [socket, upstream]) end.on('error', () => {});
  socket.write('HTTP/1.1 200 OK\r\n\r\n');
  socket.pipe(upstream);
  upstream.pipe(socket);
});
company.listen(0, '127.0.0.1');
await once(company, 'listening');

const folder = t.testdir({ password: '' });
const passwordFile = join(folder, 'password');
writeFileSync(passwordFile, `${PASSWORD}\n`);
const scene = await startScene({
  hosts: [],
  names: ['far.example'],
  services: [
    {
      id: 'far',
      hosts: [{ pattern: 'far.example' }],
      auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
      fields: [{ key: 'token' }],
    },
  ],
  flags: [
    ...['--workers', '1', '--upstream-proxy', `http://us%20er@127.0.0.1:${portOf(company)}`],
    ...['--upstream-proxy-password-file', passwordFile],
  ],
});
t.teardown(async () => {
  await scene.remove();
  company.close();
  company.closeAllConnections();
});
leadsTo = scene.upstream.port;

t.test('requests go out through the proxy, with its password and their credential', async (t) => {
  const bot = await scene.addAgent('bot');
  await scene.setCredential('far', 'a-secret-value', { agents: ['bot'] });
  const result = await curl(scene.sallyport.proxy, bot, ['https://far.example/']);
  t.match(result, { code: 0, stdout: 'answer 1\n' });
  t.same(valuesOf(scene.upstream.last, 'authorization'), ['Bearer a-secret-value']);
  const credentials = Buffer.from(`us er:${PASSWORD}`).toString('base64');
  t.same(asked, [`far.example:443 Basic ${credentials}`]);
});

t.test('a password file that is not there is said before anything starts', async (t) => {
  await scene.sallyport.stop();
  const flags = [
    '--upstream-proxy',
    'http://user@127.0.0.1:1',
    '--upstream-proxy-password-file',
    '/nonexistent',
  ];
  const ports = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
  t.match(
    await scene.sallyport.failure(['serve', ...ports, ...flags]),
    /^1 sallyport: [^\n]*\/nonexistent cannot be read[^\n]*\[invalid_settings\]\n$/,
  );
});
