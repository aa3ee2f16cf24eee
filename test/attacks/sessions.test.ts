import { X509Certificate } from 'node:crypto';
import type tls from 'node:tls';
import t from 'tap';
import { type Agent, AgentTunnel, basic, connect } from '../support/agent.ts';
import { startScene } from '../support/scene.ts';

t.setTimeout(120_000);
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { proxy } = scene.sallyport;
const alice = await scene.addAgent('alice');
const bob = await scene.addAgent('bob');
await scene.setCredential('bearer', 'secret', { agents: ['alice', 'bob'] });
await scene.setCredential('wild', 'secret', { agents: ['alice', 'bob'] });
const HOST = 'bearer.test';

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  const only = { minVersion: version, maxVersion: version };

  t.test(`${version}: a session is resumed by its agent at its host, and nowhere else`, async (t) => {
    const session = await sessionOf(alice, HOST, only);
    const own = await open(alice, HOST, { ...only, session });
    t.ok(own.socket.isSessionReused(), 'on a tunnel of the same agent to the same host, by any worker');
    t.equal((await own.request('/')).status, 200);
    own.close();

    // Whoever holds the session knows its secrets: what it must not do is spare them the other agent's handshake.
    const both = `${alice.ca}${bob.ca}`;
    const elsewhere = await open(bob, HOST, { ...only, session, ca: both });
    t.notOk(elsewhere.socket.isSessionReused(), "not on another agent's tunnel");
    const bobs = await open(bob, HOST, only);
    t.equal(issuerOf(elsewhere), issuerOf(bobs), 'which shows its own certificate');
    for (const tunnel of [elsewhere, bobs]) tunnel.close();

    const another = await open(alice, 'a.wild.test', { ...only, session });
    t.notOk(another.socket.isSessionReused(), 'not at another host');
    another.close();
    const sibling = await open(alice, 'b.wild.test', {
      ...only,
      session: await sessionOf(alice, 'a.wild.test', only),
    });
    t.notOk(sibling.socket.isSessionReused(), 'not at another host under the same wildcard');
    sibling.close();
  });
}

t.test("an agent does not trust another's authority", async (t) => {
  const mine = await open(alice, HOST);
  const certificate = mine.socket.getPeerX509Certificate();
  t.equal(certificate?.checkHost(HOST), HOST);
  mine.close();
  t.not(fingerprint(alice), fingerprint(bob));
  await t.rejects(open({ ...bob, ca: alice.ca }, HOST), { code: /CERT|UNABLE/ }, "bob's tunnel, alice's CA");
  await t.rejects(open({ ...alice, ca: bob.ca }, HOST), { code: /CERT|UNABLE/ }, "alice's tunnel, bob's CA");
});

t.test("nor is an agent's token good for another's name, nor after it was replaced", async (t) => {
  const { cli } = scene.sallyport;
  const carol = await scene.addAgent('carol');
  const fresh = (await cli(['agent', 'rotate', 'carol'])).stdout.trim();
  const cases = [
    { name: 'alice', token: bob.token },
    { name: 'bob', token: alice.token },
    { name: 'carol', token: carol.token },
    { name: 'dave', token: alice.token },
  ];
  for (const identity of cases) t.equal(await status(identity), 407, identity.name);
  t.equal(await status({ name: 'carol', token: fresh }), 403, 'the new one is known, without a grant');
});

t.test('a leaf is for one host of one agent, and not for long', async (t) => {
  const serials = new Set<string>();
  for (const agent of [alice, bob]) {
    for (const host of [HOST, 'a.wild.test']) {
      const tunnel = await open(agent, host);
      const leaf = tunnel.socket.getPeerX509Certificate();
      tunnel.close();
      if (!leaf) throw new Error('no certificate was shown');
      t.equal(leaf.subjectAltName, `DNS:${host}`, 'one name');
      t.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
      t.ok(leaf.validToDate.getTime() - Date.now() <= 24 * 3_600_000, 'at most 24 hours');
      t.notOk(leaf.ca);
      serials.add(leaf.serialNumber);
    }
  }
  t.ok(
    [...serials].every((serial) => serial.length >= 16),
    'random serials',
  );
  t.equal(serials.size, 4);
});

function open(
  agent: Agent,
  host: string,
  options: Omit<tls.ConnectionOptions, 'port'> = {},
): Promise<AgentTunnel> {
  return AgentTunnel.open(proxy, agent, host, options);
}

/** A session that the proxy gave the agent, ready to be resumed. */
async function sessionOf(
  agent: Agent,
  host: string,
  options: { minVersion: 'TLSv1.2' | 'TLSv1.3' },
): Promise<Buffer> {
  const tunnel = await open(agent, host, options);
  const session = new Promise<Buffer>((resolve) => tunnel.socket.once('session', resolve));
  await tunnel.request('/');
  try {
    return tunnel.socket.getProtocol() === 'TLSv1.3' ? await session : known(tunnel.socket.getSession());
  } finally {
    tunnel.close();
  }
}

function known(session: Buffer | undefined): Buffer {
  if (!session) throw new Error('the proxy gave no session');
  return session;
}

function issuerOf(tunnel: AgentTunnel): string {
  return tunnel.socket.getPeerX509Certificate()?.issuer ?? '';
}

function fingerprint({ ca }: Agent): string {
  return new X509Certificate(ca).fingerprint256;
}

async function status(identity: Pick<Agent, 'name' | 'token'>): Promise<number> {
  const { answer, socket } = await connect(proxy, `${HOST}:443`, basic(identity));
  socket.destroy();
  return answer.status;
}
