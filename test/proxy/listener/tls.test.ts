import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { SallyportError } from '../../../src/errors.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { End } from './end.ts';
import { ESTABLISHED, type Scene, type SceneOptions, SECRET, startScene } from './scene.ts';

async function start(t: Test, more: SceneOptions = {}): Promise<Scene> {
  const scene = await startScene(t, {
    secure: ['listed.test:443'],
    plain: ['open.test:80', 'open.test:443'],
    tls: true,
    ...more,
  });
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((agent) => ({ ...agent, unlisted: 'tunnel' as const })),
  }));
  return scene;
}

/** A connection to the TLS listener, verified. */
async function outside(
  t: Test,
  { worker }: Scene,
  options: tls.ConnectionOptions = {},
): Promise<{ end: End; socket: tls.TLSSocket }> {
  const socket = tls.connect({
    port: worker.tlsPort,
    servername: 'proxy.test',
    ca: worker.ca.cert,
    ...options,
  });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { end: new End(socket), socket };
}

t.test('CONNECT within TLS leads to TLS within TLS', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const scene = await start(t);
    const { end, socket } = await outside(t, scene, { maxVersion });
    t.ok(socket.authorized);
    end.send(`CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n${scene.authorization}\r\n`);
    t.equal(await end.readTo('\r\n\r\n'), ESTABLISHED);
    const inner = tls.connect({ socket, servername: 'listed.test', ca: scene.worker.ca.cert, maxVersion });
    await once(inner, 'secureConnect');
    t.ok(inner.authorized);
    const inside = new End(inner);
    inside.send('GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n');
    const server = await scene.upstream('listed.test:443');
    t.match(await server.readTo('\r\n\r\n'), `Authorization: Bearer ${SECRET}\r\n`);
    const body = 'x'.repeat(100_000);
    server.send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    t.match(await inside.readTo('\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n/);
    t.equal(await inside.read(body.length), body, 'as long as it is');
    inside.socket.end();
    t.equal((await inside.finish()).ending, 'end');
  }
});

t.test(
  'what the agent sends in one go with CONNECT goes on: nothing is lost between the layers',
  async (t) => {
    const scene = await start(t);
    const { end } = await outside(t, scene);
    end.send(`CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\n${scene.authorization}\r\nearly`);
    const server = await scene.upstream('open.test:443');
    t.equal(await server.read(5), 'early');
    server.send('late');
    t.equal(await end.readTo('late'), `${ESTABLISHED}late`);
    server.socket.end();
    t.same(await end.finish(), { rest: '', ending: 'end' });
  },
);

t.test('absolute-form, SOCKS5 and refusals are the same within TLS', async (t) => {
  const scene = await start(t);
  const plain = await outside(t, scene);
  plain.end.send(`GET http://open.test/a HTTP/1.1\r\nHost: open.test\r\n${scene.authorization}\r\n`);
  const server = await scene.upstream('open.test:80');
  t.equal(await server.readTo('\r\n\r\n'), 'GET /a HTTP/1.1\r\nHost: open.test\r\n\r\n');

  const socks = await outside(t, scene);
  socks.end.send('\x05\x01\x02');
  t.equal(await socks.end.read(2), '\x05\x02');
  socks.end.send(`\x01\x03bot${String.fromCharCode(scene.worker.token.length)}${scene.worker.token}`);
  t.equal(await socks.end.read(2), '\x01\x00');
  socks.end.send('\x05\x01\x00\x03\x0blisted.test\x01\xbb');
  t.equal(await socks.end.read(10), '\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00');

  const stranger = await outside(t, scene);
  stranger.end.send('CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n\r\n');
  t.match(await stranger.end.readTo('\r\n\r\n'), /^HTTP\/1\.1 407 /);
  const refused = await outside(t, scene);
  refused.end.send('nonsense\r\n\r\n');
  t.equal(await refused.end.refused(), '400 bad_request end');
});

t.test('a handshake that does not come has its time, and no answer in the clear', async (t) => {
  const scene = await start(t, { limits: { headTimeoutMs: 400 } });
  const silent = await End.connect(scene.worker.tlsPort);
  t.same(await silent.finish(), { rest: '', ending: 'end' });
  const clear = await End.connect(scene.worker.tlsPort);
  clear.send('CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n\r\n');
  const { rest, ending } = await clear.finish();
  t.notMatch(rest, /HTTP/);
  t.not(ending, 'open');
  await delay(20);
  t.ok((await scene.agent()).socket.readable, 'and the worker serves on');
});

t.test('its certificate is renewed in half its life; open connections stay', async (t) => {
  // The hour that its certificate lasts passes in a third of a second; what has its deadline within a minute is left alone.
  const clock =
    'const set = setTimeout; globalThis.setTimeout = (then, ms, ...more) => set(then, ms > 60000 ? ms / 10000 : ms, ...more);';
  const scene = await start(t, {
    nodeOptions: [`--import=data:text/javascript,${encodeURIComponent(clock)}`],
  });
  const before = await outside(t, scene);
  await delay(1_000);
  const after = await outside(t, scene);
  const shown = ({ socket }: typeof before): string => socket.getPeerX509Certificate()?.fingerprint256 ?? '';
  t.not(shown(after), shown(before));
  t.ok(scene.worker.asked.filter(({ type }) => type === 'listener-leaf').length >= 3);
  before.end.send('CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n\r\n');
  t.match(await before.end.readTo('\r\n\r\n'), /^HTTP\/1\.1 407 /);
});

t.test('where its authority is replaced it shows the new chain before the policy counts', async (t) => {
  let held: Promise<void> = Promise.resolve();
  const scene = await start(t, { beforeListenerLeaf: () => held });
  const { worker } = scene;
  const asked = (): number => worker.asked.filter(({ type }) => type === 'listener-leaf').length;
  const shown = async (): Promise<string> =>
    (await outside(t, scene)).socket.getPeerX509Certificate()?.fingerprint256 ?? '';
  const open = await outside(t, scene);
  const first = await shown();
  t.equal(asked(), 1);
  await worker.change(() => ({}));
  t.equal(asked(), 1, 'any other change is none of its');
  await worker.change(() => ({ listenerAuthority: 'proxy proxy-2' }));
  t.equal(asked(), 2);
  const second = await shown();
  t.not(second, first);
  open.end.send('CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n\r\n');
  t.match(await open.end.readTo('\r\n\r\n'), /^HTTP\/1\.1 407 /, 'what is open stays');

  t.comment('a vault that does not answer is not waited for long, and the old certificate stays');
  const late = Promise.withResolvers<void>();
  held = late.promise;
  const began = performance.now();
  await worker.change(() => ({ listenerAuthority: 'proxy-2' }));
  const took = performance.now() - began;
  t.ok(took >= 900 && took < 1_900, `${took} ms`);
  t.equal(await shown(), second);

  t.comment('of two that are asked for, the later one counts, whichever comes first');
  held = Promise.resolve();
  await worker.change(() => ({ listenerAuthority: 'proxy-2 proxy-3' }));
  const third = await shown();
  t.not(third, second);
  late.resolve();
  await delay(200);
  t.equal(await shown(), third);
  held = Promise.reject(new SallyportError('hsm_unavailable', 'The HSM is away.'));
  held.catch(() => {});
  await worker.change(() => ({ listenerAuthority: 'proxy-3' }));
  t.equal(await shown(), third, 'refused one, it shows what it has');
});

t.test('a certificate may be given', async (t) => {
  const ca = makeCa('Company');
  const scene = await start(t, { tls: makeServerCert(ca, 'proxy.test') });
  const { socket } = await outside(t, scene, { ca: ca.cert });
  t.ok(socket.authorized);
  t.same(
    scene.worker.asked.filter(({ type }) => type === 'listener-leaf'),
    [],
    'none is asked for then',
  );
});

t.test('strangers beyond the limit do not stay, not even those that never shake hands', async (t) => {
  const scene = await start(t, { limits: { strangers: 1 } });
  const first = await End.connect(scene.worker.tlsPort);
  await delay(50);
  const silent = await End.connect(scene.worker.tlsPort);
  t.not((await silent.finish()).ending, 'open');
  t.equal(first.socket.destroyed, false);
  first.socket.destroy();
  await delay(50);
  const { end } = await outside(t, scene);
  end.send('CONNECT listed.test:443 HTTP/1.1\r\nHost: listed.test:443\r\n\r\n');
  t.match(await end.readTo('\r\n\r\n'), /^HTTP\/1\.1 407 /, 'and make room when they go');
});
