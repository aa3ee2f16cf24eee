// Loads /page in Chromium, without a window; prints what its script made of it. Chromium has no option for a proxy's
// password (a program that drives it answers for it): a relay puts it into each CONNECT.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [program, base] = process.argv.slice(2);
const proxy = new URL(process.env.HTTPS_PROXY);
const authorization = `Basic ${Buffer.from(`${proxy.username}:${proxy.password}`).toString('base64')}`;
const relay = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', (chunk) => {
    const onward = net.connect(Number(proxy.port), proxy.hostname);
    onward.on('error', () => socket.destroy());
    onward.write(String(chunk).replace('\r\n', `\r\nProxy-Authorization: ${authorization}\r\n`));
    socket.pipe(onward).pipe(socket);
  });
});
relay.listen(0, '127.0.0.1');
await once(relay, 'listening');
const folder = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'));
const options = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${folder}`],
  // It trusts what is in its own store alone: how to put a CA there is not what is shown here.
  ...['--ignore-certificate-errors', `--proxy-server=127.0.0.1:${relay.address().port}`],
  ...['--virtual-time-budget=10000', '--dump-dom'],
];
const child = spawn(program, [...options, `${base}/page`], {
  stdio: ['ignore', 'pipe', 'ignore'],
  timeout: 60_000,
});
let dom = '';
child.stdout.on('data', (chunk) => {
  dom += String(chunk);
});
await once(child, 'close');
relay.close();
rmSync(folder, { recursive: true, force: true });
console.log(/<p>(.*)<\/p>/.exec(dom)?.[1] ?? dom);
process.exit();
