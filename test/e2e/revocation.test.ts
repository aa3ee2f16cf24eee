import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import t from 'tap';
import { type Agent, AgentTunnel, basic, connect } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(180_000);
const scene = await startScene({ flags: ['--workers', '2'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const { proxy } = sallyport;
const control = new Control(sallyport.data);
t.teardown(() => control.close());
const bot = await scene.addAgent('bot');

t.beforeEach(() => {
  upstream.forget();
  upstream.respond = (_request, response) => response.end('answer\n');
});

for (const [what, revoke, after] of [
  ['a credential is replaced', () => scene.setCredential('bearer', 'replaced'), 200],
  ['a grant is narrowed to other methods', () => narrow(), 403],
  ['a grant is taken back', () => sallyport.cli(['grant', 'remove', 'bot', 'bearer']), 403],
  ['a credential is removed', () => removeCredential(), 403],
] as const) {
  t.test(`${what}: streams are closed, and the very next request hears of it`, async (t) => {
    await control.call('DELETE', '/v1/grants?agent=bot&service=bearer').catch(() => {}); // as the last one left it
    await scene.setCredential('bearer', 'value', { agents: ['bot'] });
    const idle = await Promise.all(Array.from({ length: 4 }, () => open(bot)));
    for (const tunnel of idle) await tunnel.request('/warm');
    const streams = await Promise.all(Array.from({ length: 4 }, () => openStream(bot)));
    t.teardown(() => [...idle, ...streams].map((each) => each.close()));
    t.ok(streams.every((stream) => !stream.over));
    await revoke();
    const ended = performance.now();
    await Promise.all(streams.map((stream) => stream.ended));
    t.ok(performance.now() - ended < 500, 'every stream is cut');
    upstream.forget();
    for (const tunnel of idle) {
      const answer = await tunnel.request('/next');
      t.equal(answer.status, after);
      if (after === 200) t.same(valuesOf(upstream.last, 'authorization'), ['Bearer replaced']);
    }
    t.equal(upstream.received.length, after === 200 ? idle.length : 0);
  });
}

t.test('what the next tunnel shows is confined to the grants of the moment', async (t) => {
  const other = await scene.addAgent('confined');
  await scene.setCredential('bearer', 'value', { agents: ['confined'] });
  /** Whether the chain that a new tunnel to bearer.test shows may be used for that name: the constraints hold it as it is. */
  const allows = async (name: string): Promise<boolean> => {
    const tunnel = await AgentTunnel.open(proxy, other, 'bearer.test');
    const { issuerCertificate } = tunnel.socket.getPeerCertificate(true);
    tunnel.close();
    return issuerCertificate.raw.includes(name);
  };
  const kept = await AgentTunnel.open(proxy, other, 'bearer.test');
  t.same([await allows('bearer.test'), await allows('keyed.test')], [true, false]);
  await scene.setCredential('keyed', 'value', { agents: ['confined'] });
  // More of them than workers, each of which had a certificate at hand.
  for (let i = 0; i < 6; i++) t.ok(await allows('keyed.test'), 'with the very next tunnel');
  await sallyport.cli(['grant', 'remove', 'confined', 'keyed']);
  for (let i = 0; i < 6; i++) t.notOk(await allows('keyed.test'));
  t.equal((await kept.request('/kept')).status, 200, 'tunnels that are open go on');
  kept.close();
});

t.test('an agent that gets another token, or is removed, is cut off', async (t) => {
  const other = await scene.addAgent('other');
  await scene.setCredential('bearer', 'value', { agents: ['other'] });
  for (const revoke of ['rotate', 'remove']) {
    const token = revoke === 'rotate' ? other.token : rotated;
    const idle = await open({ ...other, token });
    const stream = await openStream({ ...other, token });
    const { stdout } = await sallyport.cli(['agent', revoke, 'other']);
    if (revoke === 'rotate') rotated = stdout.trim();
    await stream.ended;
    if (!idle.closed) await once(idle.socket, 'close');
    const { answer, socket } = await connect(proxy, 'bearer.test:443', basic({ name: 'other', token }));
    socket.destroy();
    t.equal(answer.status, 407, revoke);
  }
});
let rotated = '';

function open(agent: Agent): Promise<AgentTunnel> {
  return AgentTunnel.open(proxy, agent, 'bearer.test');
}

/** An answer that does not end by itself. `ended` resolves when it breaks off. */
async function openStream(agent: Agent) {
  const tunnel = await open(agent);
  upstream.respond = (request, response) => {
    if (!request.path.startsWith('/stream')) return void response.end('answer\n');
    const timer = setInterval(() => response.write('more\n'), 20);
    response.on('close', () => clearInterval(timer));
  };
  const response = await tunnel.stream('/stream');
  if (response.statusCode !== 200) throw new Error(`the stream was answered ${response.statusCode}`);
  await once(response, 'data');
  const stream = { over: false, ended: brokenOff(response), close: () => tunnel.close() };
  stream.ended.then(() => {
    stream.over = true;
  });
  return stream;
}

async function brokenOff(response: IncomingMessage): Promise<void> {
  const error = await new Promise<Error | undefined>((resolve) => {
    response.once('error', resolve);
    response.once('end', () => resolve(undefined));
    response.resume();
  });
  if (!error) throw new Error('the stream ended as if it were whole');
}

async function narrow(): Promise<void> {
  await sallyport.cli(['grant', 'add', 'bot', 'bearer', '--method', 'DELETE']);
}

async function removeCredential(): Promise<void> {
  await sallyport.cli(['credential', 'remove', await scene.setCredential('bearer', 'value')]);
}
