import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { z } from 'zod';
import { readPem, toPem } from '../../certs/pem.ts';
import { type Agent, basic } from '../support/agent.ts';
import { curl } from '../support/curl.ts';
import { startScene } from '../support/scene.ts';

t.setTimeout(180_000);
const scene = await startScene({
  flags: ['--workers', '2', '--proxy-tls-listen', '127.0.0.1:0', '--proxy-tls-name', 'localhost'],
  initFlags: ['--authority-keys', 'hsm'],
});
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
upstream.respond = (_request, response) => response.end('answer\n');
const bot = await scene.addAgent('bot');
await scene.addAgent('other');
await scene.setCredential('bearer', 'value', { agents: ['bot'] });
const { proxyTls } = z.object({ proxyTls: z.string() }).parse(await sallyport.json(['status']));
const port = Number(new URL(proxyTls).port);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-listener-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** How a client fares at the TLS listener that trusts these certificates there: the answer, or curl's reason. */
async function fares(pem: string): Promise<string> {
  const caFile = join(folder, 'listener.pem');
  writeFileSync(caFile, pem);
  const args = ['--proxy-cacert', caFile, 'https://bearer.test/'];
  const { code, stdout, stderr } = await curl(`https://localhost:${port}`, bot, args);
  return code === 0 ? stdout : stderr;
}

/** The same several times: the kernel spreads connections over the workers. */
async function faresEverywhere(pem: string): Promise<string[]> {
  const answers = new Set<string>();
  for (let round = 0; round < 6; round++) answers.add(await fares(pem));
  return [...answers];
}

/** An agent's connection over the listener, TLS within TLS, which stays open. */
async function tunnel(agent: Agent, ca: string): Promise<tls.TLSSocket> {
  const outer = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
  outer.write(
    `CONNECT bearer.test:443 HTTP/1.1\r\nHost: bearer.test:443\r\nProxy-Authorization: ${basic(agent)}\r\n\r\n`,
  );
  await new Promise((resolve, reject) => outer.once('data', resolve).once('error', reject));
  const inner = tls.connect({ socket: outer, servername: 'bearer.test', ca: agent.ca });
  await new Promise((resolve, reject) => inner.once('secureConnect', resolve).once('error', reject));
  return inner;
}

async function asked(socket: tls.TLSSocket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nHost: bearer.test\r\n\r\n');
  const [answer] = await new Promise<Buffer[]>((resolve, reject) =>
    socket.once('data', (chunk: Buffer) => resolve([chunk])).once('error', reject),
  );
  return String(answer).split('\r\n')[0] ?? '';
}

/** The listener's roots in the CA file of an agent whose own authority was never replaced. */
const rootsIn = (pem: string): string[] => readPem(pem).slice(1).map(toPem);
const keysInHsm = async (): Promise<string[]> => {
  const status = JSON.stringify(await sallyport.json(['hsm', 'status']));
  return [...new Set(status.match(/sallyport-proxy-\d+/g))].sort();
};
const Step = z.object({
  made: z.array(z.string()),
  ended: z.array(z.string()),
  roots: z.array(z.string()),
  files: z.array(z.string()),
});

t.test('the key of the listener is in the HSM, where `hsm status` shows it', async (t) => {
  t.same(await keysInHsm(), ['sallyport-proxy-1']);
  const { stdout } = await sallyport.cli(['hsm', 'status']);
  t.match(stdout, /\nsallyport-proxy-1 +[0-9a-f]{4} +EC P-256 +yes +no +yes +yes\n/);
  t.same(await faresEverywhere(bot.ca), ['answer\n']);
});

t.test('it is replaced online: old, new and both are trusted until the old one is retired', async (t) => {
  const [old = '', ...none] = rootsIn(bot.ca);
  t.equal(none.length, 0);
  const open = await tunnel(bot, old);
  t.teardown(() => open.destroy());
  t.match(await asked(open), / 200 /);
  t.equal(
    await sallyport.failure(['authority', 'retire']),
    '1 sallyport: The TLS listener has one CA and no earlier one: make a new one with `sallyport authority rotate` first. [not_found]\n',
  );
  t.match(await sallyport.failure(['--json', 'authority', 'retire']), /^1 \{"error":\{"code":"not_found"/);

  const rotated = await sallyport.cli(['--json', 'authority', 'rotate']);
  const { files, ...which } = Step.parse(rotated.json());
  t.same(which, { made: ['proxy-2'], ended: [], roots: ['proxy', 'proxy-2'] });
  t.match(rotated.stderr, /^Install it .*: sallyport authority retire\n$/);
  t.same(
    files.map((file) => file.slice(sallyport.data.length)),
    ['/ca/bot.pem', '/ca/other.pem'],
  );
  const [both = '', others = ''] = files.map((file) => readFileSync(file, 'utf8'));
  t.equal((await sallyport.cli(['agent', 'ca', 'bot'])).stdout.trim(), both.trim());
  const [before, fresh = ''] = rootsIn(both);
  t.equal(before, old);
  t.same(rootsIn(others), [old, fresh], 'it is the same for every agent');
  t.same(await keysInHsm(), ['sallyport-proxy-1', 'sallyport-proxy-2']);
  for (const [who, pem] of Object.entries({ old, new: fresh, both }))
    t.same(await faresEverywhere(pem), ['answer\n'], `trusts ${who}, from every worker`);
  t.match(
    await sallyport.failure(['authority', 'rotate']),
    /^1 sallyport: An earlier CA of the TLS listener still counts: .*authority retire.* \[already_exists\]\n$/,
  );
  t.match(await asked(open), / 200 /, 'the tunnel of before is still open');

  const retired = await sallyport.cli(['authority', 'retire']);
  t.match(
    retired.stdout,
    /^The earlier CA of the TLS listener is retired\. \S+bot\.pem and 1 more are written anew\.\n$/,
  );
  for (const name of ['bot', 'other'])
    t.same(rootsIn(readFileSync(join(sallyport.data, 'ca', `${name}.pem`), 'utf8')), [fresh]);
  for (const why of await faresEverywhere(old))
    t.match(why, /curl: \(60\)/, 'the old one alone is served no more');
  t.same(await faresEverywhere(fresh), ['answer\n']);
  t.match(await asked(open), / 200 /, 'and the tunnel is still open');
  t.same(await keysInHsm(), ['sallyport-proxy-2']);
});

t.test('both steps are in the audit, which verifies', async (t) => {
  const journals = join(sallyport.data, 'journal');
  const steps = readdirSync(journals)
    .filter((name) => name.includes('-vault-'))
    .flatMap((name) => readFileSync(join(journals, name), 'utf8').split('\n'))
    .filter((line) => line.includes('"action":"authority.'))
    .map((line) => JSON.parse(line));
  t.match(steps, [
    { action: 'authority.add', subject: 'proxy', detail: { made: 'proxy' } },
    { action: 'authority.rotate', subject: 'proxy', detail: { made: 'proxy-2', ended: '' } },
    { action: 'authority.retire', subject: 'proxy', detail: { made: '', ended: 'proxy' } },
  ]);
  t.match(await sallyport.cli(['audit', 'verify']), { code: 0 });
});

t.test('a restart keeps it', async (t) => {
  const fresh = rootsIn(readFileSync(join(sallyport.data, 'ca', 'bot.pem'), 'utf8')).join('');
  await sallyport.stop();
  const again = await sallyport.restart();
  t.teardown(() => again.stop());
  const status = z.object({ proxyTls: z.string() }).parse(await again.json(['status']));
  const caFile = join(folder, 'again.pem');
  writeFileSync(caFile, fresh);
  const proxy = `https://localhost:${new URL(status.proxyTls).port}`;
  const result = await curl(proxy, bot, ['--proxy-cacert', caFile, 'https://bearer.test/']);
  t.match(result, { code: 0, stdout: 'answer\n' });
  t.match(JSON.stringify(await again.json(['hsm', 'status'])), /"sallyport-proxy-2"/);
});
