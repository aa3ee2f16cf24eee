import { once } from 'node:events';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { End } from './end.ts';
import { connect, ESTABLISHED, type Scene, SECRET, startScene } from './scene.ts';

const HOSTS = ['listed.test', 'xn--bcher-kva.test', '192.0.2.7', '2001:db8::1', '::ffff:192.0.2.9'];
const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

function start(t: Test): Promise<Scene> {
  return startScene(t, {
    secure: HOSTS.map((host) => `${bracketed(host)}:443`),
    rules: [
      ...HOSTS.map((host, index) => ({ host, id: `rule-${index}` })),
      { host: 'listed.test', port: 8443, id: 'other-port' },
    ],
  });
}

/** Opens a tunnel to `authority` and sends a request with that Host; `servername`: as clients derive it. */
async function ask(scene: Scene, authority: string, host: string, servername: string): Promise<End> {
  const agent = await connect(scene, authority);
  const answer = await agent.readTo('\r\n\r\n');
  if (answer !== ESTABLISHED) throw new Error(answer);
  const secure = tls.connect({
    socket: agent.socket,
    servername,
    ca: scene.worker.ca.cert,
    checkServerIdentity: (_name, certificate) => {
      t.match(certificate.subjectaltname, /^(DNS|IP Address):/, 'a leaf of one name');
      return undefined;
    },
  });
  secure.on('error', () => {});
  await once(secure, 'secureConnect');
  const inside = new End(secure);
  inside.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  return inside;
}

t.test('one host however it is written; what the agent wrote is on the wire', async (t) => {
  const scene = await start(t);
  const rows: readonly { ask: string; host: string; sni: string; at: string; upstreamSni: string | false }[] =
    [
      {
        ask: 'listed.test:443',
        host: 'listed.test',
        sni: 'listed.test',
        at: 'listed.test',
        upstreamSni: 'listed.test',
      },
      {
        ask: 'LISTED.Test:443',
        host: 'Listed.TEST',
        sni: 'LISTED.Test',
        at: 'listed.test',
        upstreamSni: 'listed.test',
      },
      {
        ask: 'listed.test.:443',
        host: 'listed.test.',
        sni: 'listed.test',
        at: 'listed.test',
        upstreamSni: 'listed.test',
      },
      {
        ask: 'listed.test:443',
        host: 'listed.test:443',
        sni: 'listed.test',
        at: 'listed.test',
        upstreamSni: 'listed.test',
      },
      {
        ask: 'listed.test:0443',
        host: 'listed.test:00443',
        sni: '',
        at: 'listed.test',
        upstreamSni: 'listed.test',
      },
      {
        ask: 'XN--BCHER-KVA.test:443',
        host: 'xn--BCHER-kva.TEST.',
        sni: 'xn--bcher-kva.test',
        at: 'xn--bcher-kva.test',
        upstreamSni: 'xn--bcher-kva.test',
      },
      { ask: '192.0.2.7:443', host: '192.0.2.7', sni: '', at: '192.0.2.7', upstreamSni: false },
      { ask: '192.0.2.7.:443', host: '192.0.2.7.', sni: '', at: '192.0.2.7', upstreamSni: false },
      {
        ask: '[2001:DB8:0:0:0:0:0:1]:443',
        host: '[2001:db8::0:1]',
        sni: '',
        at: '2001:db8::1',
        upstreamSni: false,
      },
      {
        ask: '[2001:db8::1]:443',
        host: '[2001:0db8::0001]:443',
        sni: '',
        at: '2001:db8::1',
        upstreamSni: false,
      },
      {
        ask: '[::FFFF:c000:209]:443',
        host: '[::ffff:192.0.2.9]',
        sni: '',
        at: '::ffff:192.0.2.9',
        upstreamSni: false,
      },
    ];
  for (const row of rows) {
    const agent = await ask(scene, row.ask, row.host, row.sni);
    const server = await scene.upstream(`${bracketed(row.at)}:443`);
    t.equal(
      await server.readTo('\r\n\r\n'),
      `GET / HTTP/1.1\r\nHost: ${row.host}\r\nAccept-Encoding: identity\r\nAuthorization: Bearer ${SECRET}\r\n\r\n`,
      row.ask,
    );
    t.equal(Reflect.get(server.socket, 'servername'), row.upstreamSni, `${row.ask}: SNI`);
    server.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    t.match(await agent.readTo('\r\n\r\n'), /^HTTP\/1\.1 200 /);
    agent.socket.destroy();
  }
  const recorded = scene.worker.journal.split('\n').filter((line) => line.includes('"injected"'));
  t.same(
    [...new Set(recorded.map((line) => JSON.parse(line).host))],
    ['listed.test', 'xn--bcher-kva.test', '192.0.2.7', '2001:db8::1', '::ffff:192.0.2.9'],
    'one name in the journal',
  );
});

t.test('what is no plain spelling of a host is refused, before anything is resolved', async (t) => {
  const scene = await start(t);
  const rows: readonly string[] = [
    'listed.test',
    'listed.test:',
    'listed.test:0',
    'listed.test:65536',
    'listed.test:443x',
    'listed.test..:443',
    '.listed.test:443',
    'listed..test:443',
    'listed%2etest:443',
    'bot@listed.test:443',
    'b\u00fccher.test:443',
    '192.0.519:443',
    '3221225991:443',
    '0xc0.0.2.7:443',
    '0300.0.2.7:443',
    '192.0.2.07:443',
    '2001:db8::1:443',
    '[2001:db8::1]',
    '[2001:db8::1%25eth0]:443',
    '[2001:db8::1::2]:443',
    '[192.0.2.7]:443',
    '[listed.test]:443',
    `${'a'.repeat(64)}.test:443`,
    `${'a.'.repeat(127)}test:443`,
  ];
  for (const authority of rows) {
    const agent = await scene.agent();
    agent.send(`CONNECT ${authority} HTTP/1.1\r\nHost: listed.test\r\n${scene.authorization}\r\n`);
    t.equal(await agent.refused(), '400 bad_request end', authority);
  }
});

t.test('another host is another host, however close', async (t) => {
  const scene = await start(t);
  for (const authority of [
    '192.0.2.9:443',
    '[::ffff:192.0.2.7]:443',
    '[2001:db8::2]:443',
    'a.listed.test:443',
    'xlisted.test:443',
  ]) {
    t.equal(await (await connect(scene, authority)).refused(), '403 host_not_granted end', authority);
  }
});

t.test('a request in the tunnel is for its host, or misdirected', async (t) => {
  const scene = await start(t);
  const rows: readonly [host: string, servername: string][] = [
    ['xn--bcher-kva.test', 'listed.test'],
    ['listed.test:8443', 'listed.test'],
    ['listed.test:80', 'listed.test'],
    ['192.0.2.7', 'listed.test'],
    ['listed.test', 'xn--bcher-kva.test'],
    ['listed.test', 'a.listed.test'],
  ];
  for (const [host, servername] of rows) {
    const agent = await ask(scene, 'listed.test:443', host, servername);
    t.match(await agent.readTo('\r\n\r\n'), /^HTTP\/1\.1 421 /, `${host} ${servername}`);
    agent.socket.destroy();
  }
  for (const host of HOSTS) t.equal(scene.waiting(`${bracketed(host)}:443`), 0);
});
