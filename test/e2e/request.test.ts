import { randomBytes } from 'node:crypto';
import t from 'tap';
import { AgentTunnel, basic, connect } from '../support/agent.ts';
import { curl } from '../support/curl.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

t.setTimeout(120_000);
const scene = await startScene({ flags: ['--workers', '1'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
const { proxy } = sallyport;
const bot = await scene.addAgent('bot');
const other = await scene.addAgent('other');
const secret = `secret-${randomBytes(16).toString('hex')}`;
const agents = ['bot'];
await scene.setCredential('bearer', secret, { agents });
await scene.setCredential('keyed', secret, { agents });
await scene.setCredential('login', secret, { agents, fields: ['user=someone'] });
await scene.setCredential('wild', secret, { agents });

t.beforeEach(() => upstream.forget());

t.test('curl gets the answer to a request that carried the credential', async (t) => {
  const result = await curl(proxy, bot, ['--include', 'https://bearer.test/v1/things?q=1']);
  t.match(result, { code: 0, stderr: '' });
  t.match(result.stdout, /^HTTP\/1.1 200 Connection established\r\n\r\nHTTP\/2 200 \r\n[\s\S]*answer 1\n$/);
  t.notMatch(result.stdout, secret);
  t.equal(upstream.received.length, 1);
  t.match(upstream.last, { method: 'GET', path: '/v1/things?q=1' });
  t.same(valuesOf(upstream.last, 'authorization'), [`Bearer ${secret}`]);
  t.same(valuesOf(upstream.last, 'host'), ['bearer.test']);
});

t.test("none of the agent's own fields in that place get through", async (t) => {
  const own = [
    'Authorization: Bearer agents-own',
    'authorization: Basic YWdlbnQ6b3du',
    'Connection: keep-alive, authorization',
    'Proxy-Authorization: Basic leaked',
    'X-Other: stays',
  ].flatMap((field) => ['--header', field]);
  const result = await curl(proxy, bot, [...own, 'https://bearer.test/']);
  t.match(result, { code: 0, stdout: 'answer 1\n' });
  t.same(valuesOf(upstream.last, 'authorization'), [`Bearer ${secret}`]);
  t.same(valuesOf(upstream.last, 'proxy-authorization'), []);
  t.same(valuesOf(upstream.last, 'x-other'), ['stays']);
  t.notMatch(upstream.last.fields.join('\n'), /agents-own|YWdlbnQ6b3du|leaked/);
});

t.test('nor do the spellings that servers take for it', async (t) => {
  const names = ['x-api-key', 'X_API_KEY', 'x_api-key', 'X-Api-Key'];
  const own = names.flatMap((name) => ['--header', `${name}: agents-own`]);
  t.match(await curl(proxy, bot, [...own, 'https://keyed.test/']), { code: 0, stdout: 'answer 1\n' });
  t.same(valuesOf(upstream.last, 'x-api-key'), [secret]);
  t.notMatch(upstream.last.fields.join('\n'), 'agents-own');
  const apiKeys = upstream.last.fields.filter((text) => /^x[-_]api[-_]key$/i.test(text));
  t.equal(apiKeys.length, 1, 'one field of that name, in any spelling');
});

t.test('a credential of two fields is written as Basic', async (t) => {
  t.match(await curl(proxy, bot, ['--user', 'agent:own', 'https://login.test/']), { code: 0 });
  const expected = Buffer.from(`someone:${secret}`).toString('base64');
  t.same(valuesOf(upstream.last, 'authorization'), [`Basic ${expected}`]);
});

t.test('the proxy adds no field but those that are its task', async (t) => {
  t.match(await curl(proxy, bot, ['--header', 'Accept-Encoding: gzip, br', 'https://bearer.test/']), {
    code: 0,
  });
  const names = upstream.last.fields.filter((_text, index) => index % 2 === 0);
  const known = ['accept', 'accept-encoding', 'authorization', 'connection', 'host', 'user-agent'];
  t.same(
    names.map((name) => name.toLowerCase()).filter((name) => !known.includes(name)),
    [],
  );
});

t.test('a wildcard covers one label, and not the name itself', async (t) => {
  for (const host of ['a.wild.test', 'b.wild.test']) {
    t.match(await curl(proxy, bot, [`https://${host}/`]), { code: 0 }, host);
    t.same(valuesOf(upstream.last, 'authorization'), [`Token ${secret}`]);
    t.same(valuesOf(upstream.last, 'host'), [host]);
  }
  upstream.forget();
  for (const host of ['a.b.wild.test', 'wild.test', 'awild.test']) {
    const { answer, socket } = await connect(proxy, `${host}:443`, basic(bot));
    socket.destroy();
    t.equal(answer.status, 403, host);
  }
  t.equal(upstream.received.length, 0);
});

t.test('a port is part of what is granted', async (t) => {
  t.match(await curl(proxy, bot, ['https://ported.test:8443/']), { code: 0, stdout: 'answer 1\n' });
  t.same(valuesOf(upstream.last, 'authorization'), [`Token ${secret}`]);
  t.same(valuesOf(upstream.last, 'host'), ['ported.test:8443']);
  for (const target of ['ported.test:443', 'bearer.test:8443']) {
    const { answer, socket } = await connect(proxy, target, basic(bot));
    socket.destroy();
    t.match(answer, { status: 403, headers: { 'x-sallyport-error': 'host_not_granted' } }, target);
    t.match(answer.reason, /^Port \d+ of \w+\.test is not granted to this agent/);
  }
  t.equal(upstream.received.length, 1);
});

t.test('a grant is narrowed to methods and paths', async (t) => {
  await sallyport.cli([
    ...['grant', 'add', 'bot', 'bearer', '--method', 'GET', '--method', 'HEAD', '--path', '/v1/'],
  ]);
  t.teardown(async () => {
    await sallyport.cli(['grant', 'remove', 'bot', 'bearer']);
    await sallyport.cli(['grant', 'add', 'bot', 'bearer']);
  });
  const tunnel = await AgentTunnel.open(proxy, bot, 'bearer.test');
  t.teardown(() => tunnel.close());
  t.equal((await tunnel.request('/v1/things')).status, 200);
  const outside = [
    ['POST', '/v1/things'],
    ['GET', '/v2/things'],
    ['GET', '/'],
    ['GET', '/v1/../v2'],
    ['GET', '/v1/%2e%2e/v2'],
    ['GET', '/v1//../../v2'],
    ['GET', '/v1/..%2fv2'],
  ];
  for (const [method = '', path = ''] of outside) {
    const answer = await tunnel.request(path, { method });
    t.match(answer, { status: 403, headers: { 'x-sallyport-error': 'policy_denied' } }, `${method} ${path}`);
    t.match(answer.headers['content-type'], /^application\/problem\+json/);
    const problem = JSON.parse(answer.body.toString());
    t.match(problem, { status: 403, code: 'policy_denied', retryable: false, detail: /so nothing was sent/ });
  }
  t.same(
    upstream.received.map(({ path }) => path),
    ['/v1/things'],
    'on the same tunnel, and nothing of it reached the upstream',
  );
});

t.test('a host that is not granted is refused where the tunnel would begin', async (t) => {
  const { answer, socket } = await connect(proxy, 'ungranted.test:443', basic(bot));
  socket.destroy();
  t.match(answer, {
    status: 403,
    reason: /^ungranted\.test is not granted to this agent, .*"sallyport grant add bot SERVICE"/,
    headers: { 'x-sallyport-error': 'host_not_granted', 'content-type': 'application/problem+json' },
  });
  const problem = JSON.parse(answer.body.toString());
  t.equal(problem.detail, answer.reason, 'the sentence is the reason phrase and the detail');
  t.match(problem, { code: 'host_not_granted', status: 403, retryable: false });
  t.notMatch(answer.body.toString(), /other|bearer/, 'nothing about anybody else');

  const printed = await curl(proxy, bot, ['https://ungranted.test/']);
  t.equal(printed.code, 56);
  t.match((await curl(proxy, bot, ['-v', 'https://ungranted.test/'])).stderr, /< HTTP\/1.1 403 ungranted/);
  const denied = await curl(proxy, other, ['-v', 'https://bearer.test/']);
  t.match(denied.stderr, /403 bearer\.test is not granted to this agent/, "another agent's grant is not its");
  t.equal(upstream.received.length, 0);
});

t.test('whoever does not show its token is challenged, whoever it says it is', async (t) => {
  const cases: Record<string, string | undefined> = {
    nothing: undefined,
    'a wrong token': basic({ name: 'bot', token: 'spa_wrong' }),
    "another's token": basic({ name: 'bot', token: other.token }),
    'an unknown agent': basic({ name: 'nobody', token: bot.token }),
    'a name that only begins like it': basic({ name: 'bo', token: bot.token }),
    'an empty token': basic({ name: 'bot', token: '' }),
    'another scheme': `Bearer ${bot.token}`,
    'no base64': 'Basic ***',
  };
  const answers: unknown[] = [];
  for (const [what, authorization] of Object.entries(cases)) {
    const { answer, socket } = await connect(proxy, 'bearer.test:443', authorization);
    socket.destroy();
    t.match(
      answer,
      {
        status: 407,
        reason: 'Proxy Authentication Required',
        headers: {
          'proxy-authenticate': 'Basic realm="sallyport"',
          'x-sallyport-error': 'proxy_auth_required',
        },
      },
      what,
    );
    answers.push({ ...answer, body: answer.body.toString() });
  }
  for (const answer of answers) t.same(answer, answers[0], 'all alike');
  const challenged = await curl(proxy, { ...bot, token: 'spa_wrong' }, ['https://bearer.test/']);
  t.match(challenged, { code: 56, stderr: /407/ });
  t.equal(upstream.received.length, 0);
});

t.test('an unknown agent is told no sooner and no later than a known one', async (t) => {
  const times: Record<'known' | 'unknown', number[]> = { known: [], unknown: [] };
  for (let i = 0; i < 150; i++) {
    for (const [kind, name] of [
      ['known', 'bot'],
      ['unknown', 'nobody'],
    ] as const) {
      const began = performance.now();
      const { socket } = await connect(proxy, 'bearer.test:443', basic({ name, token: 'spa_wrong' }));
      times[kind].push(performance.now() - began);
      socket.destroy();
    }
  }
  const [known, unknown] = [median(times.known), median(times.unknown)];
  t.ok(Math.abs(known - unknown) < 0.3 * Math.min(known, unknown), `medians ${known} and ${unknown} ms`);
});

t.test(
  'an agent without its proxy finds nothing that looks like the credential in the journal',
  async (t) => {
    const { stdout } = await sallyport.cli(['audit', 'tail', '--all', '--json']);
    t.notMatch(stdout, secret);
    const records = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    t.ok(records.some(({ type, action }) => type === 'admin' && action === 'service.add'));
    t.match(
      records.find(({ agent }) => agent === 'bot'),
      {
        agent: 'bot',
        method: 'GET',
        host: 'bearer.test',
        path: '/v1/things',
        service: 'bearer',
        version: 1,
        decision: 'injected',
      },
    );
    t.ok(records.some(({ decision, reason }) => decision === 'denied' && reason === 'host_not_granted'));
    t.notMatch(sallyport.stderr(), secret);
  },
);

function median(of: readonly number[]): number {
  return [...of].sort((a, b) => a - b)[of.length >> 1] ?? 0;
}
