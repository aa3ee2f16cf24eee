import fc from 'fast-check';
import t from 'tap';
import { NO_LIMITS, type Rule, type Snapshot } from '../../../src/channel/messages/policy.ts';
import { type Destination, PolicyTable, type Refusal } from '../../../src/proxy/policy/match.ts';

const AGENT = {
  id: 'agt_1',
  name: 'coder',
  tokens: [],
  unlisted: 'deny' as const,
  authority: '1',
  integrity: null,
};

type Partly = Partial<Omit<Rule, 'hosts'>> & { hosts?: (Partial<Rule['hosts'][number]> | string)[] };

function rule(id: string, { hosts = ['api.example.com'], ...rest }: Partly = {}): Rule {
  return {
    id,
    agent: AGENT.id,
    service: 'example',
    credential: `crd_${id}`,
    version: 1,
    methods: [],
    paths: [],
    inject: [],
    plainHttp: false,
    http2: false,
    limits: NO_LIMITS,
    integrity: null,
    ...rest,
    hosts: hosts.map((host) => ({
      pattern: 'api.example.com',
      port: 443,
      paths: [],
      ...(typeof host === 'string' ? { pattern: host } : host),
    })),
  };
}

function table(rules: Rule[], rest: Partial<Snapshot> = {}): PolicyTable {
  return new PolicyTable(
    { revision: 7, unread: null, integrity: null, listenerAuthority: '', agents: [AGENT], rules, ...rest },
    (path) => !path.includes('..'),
  );
}

/** The matched rule's id, or the refusal's code. */
function ask(policy: PolicyTable, url: string, method = 'GET', agent = AGENT.id): string {
  const [, host = '', port = '443', path = ''] = /^([^:/]+)(?::(\d+))?(\/.*)$/.exec(url) ?? [];
  const answer = policy.match(agent, host, Number(port), method, path);
  return 'code' in answer ? answer.code : answer.id;
}

t.test('matches exact host and port, and nothing else', async (t) => {
  const policy = table([rule('a')]);
  t.equal(ask(policy, 'api.example.com/v1'), 'a');
  t.equal(ask(policy, 'api.example.com:8443/v1'), 'host_not_granted');
  t.equal(ask(policy, 'www.example.com/v1'), 'host_not_granted');
  t.equal(ask(policy, 'api.example.com.evil.com/v1'), 'host_not_granted');
  t.equal(ask(policy, 'api.example.com/v1', 'GET', 'agt_2'), 'host_not_granted');
  t.equal(policy.revision, 7);
});

t.test('"*." covers one label, "**." one or more', async (t) => {
  const policy = table([rule('one', { hosts: ['*.x.com'] }), rule('more', { hosts: ['**.y.com'] })]);
  t.equal(ask(policy, 'a.x.com/'), 'one');
  t.equal(ask(policy, 'a.b.x.com/'), 'host_not_granted');
  t.equal(ask(policy, 'x.com/'), 'host_not_granted');
  t.equal(ask(policy, 'a.y.com/'), 'more');
  t.equal(ask(policy, 'a.b.c.y.com/'), 'more');
  t.equal(ask(policy, 'y.com/'), 'host_not_granted');
  t.equal(ask(policy, 'ay.com/'), 'host_not_granted');
});

t.test('the most specific host wins, whatever the order of the rules', async (t) => {
  const rules = [
    rule('wide', { hosts: ['**.x.com'] }),
    rule('deeper', { hosts: ['**.b.x.com'] }),
    rule('one', { hosts: ['*.b.x.com'] }),
    rule('exact', { hosts: ['a.b.x.com'] }),
  ];
  for (const order of [rules, rules.toReversed()]) {
    const policy = table(order);
    t.equal(ask(policy, 'a.b.x.com/'), 'exact');
    t.equal(ask(policy, 'z.b.x.com/'), 'one');
    t.equal(ask(policy, 'z.a.b.x.com/'), 'deeper');
    t.equal(ask(policy, 'z.x.com/'), 'wide');
  }
});

t.test('a less specific host serves what the more specific one does not cover', async (t) => {
  const policy = table([rule('get', { methods: ['GET'] }), rule('any', { hosts: ['*.example.com'] })]);
  t.equal(ask(policy, 'api.example.com/', 'GET'), 'get');
  t.equal(ask(policy, 'api.example.com/', 'POST'), 'any');
});

t.test('a prefix ends at a segment', async (t) => {
  const policy = table([rule('a', { paths: ['/v1', '/files/'] })]);
  t.equal(ask(policy, 'api.example.com/v1'), 'a');
  t.equal(ask(policy, 'api.example.com/v1/chat'), 'a');
  t.equal(ask(policy, 'api.example.com/v1/'), 'a');
  t.equal(ask(policy, 'api.example.com/v10'), 'policy_denied');
  t.equal(ask(policy, 'api.example.com/V1'), 'policy_denied');
  t.equal(ask(policy, 'api.example.com/'), 'policy_denied');
  t.equal(ask(policy, 'api.example.com/files'), 'policy_denied');
  t.equal(ask(policy, 'api.example.com/files/x'), 'a');
});

t.test("a service's path and the grant's must both match; the service's may be globs", async (t) => {
  const policy = table([
    rule('git', {
      hosts: [{ pattern: 'github.com', paths: ['/*.git/*', '/*/info/refs'] }],
      paths: ['/acme'],
    }),
  ]);
  t.equal(ask(policy, 'github.com/acme/tool.git/git-upload-pack'), 'git');
  t.equal(ask(policy, 'github.com/acme/tool/info/refs'), 'git');
  t.equal(ask(policy, 'github.com/acme/tool/info/refs/x'), 'policy_denied');
  t.equal(ask(policy, 'github.com/other/tool.git/git-upload-pack'), 'policy_denied');
  t.equal(ask(policy, 'github.com/acme/settings'), 'policy_denied');
  const overlapping = table([rule('a', { hosts: [{ paths: ['/ab*ba'] }] })]);
  t.equal(ask(overlapping, 'api.example.com/aba'), 'policy_denied');
  t.equal(ask(overlapping, 'api.example.com/abba'), 'a');
});

t.test('the longest path wins, then a rule that lists the method', async (t) => {
  const policy = table([
    rule('all'),
    rule('listed', { methods: ['DELETE', 'GET'] }),
    rule('v1', { paths: ['/v1'] }),
    rule('v1-post', { paths: ['/v1'], methods: ['POST'] }),
    rule('chat', { hosts: [{ paths: ['/v1/chat'] }] }),
  ]);
  t.equal(ask(policy, 'api.example.com/x', 'PUT'), 'all');
  t.equal(ask(policy, 'api.example.com/x', 'DELETE'), 'listed');
  t.equal(ask(policy, 'api.example.com/v1/x', 'DELETE'), 'v1');
  t.equal(ask(policy, 'api.example.com/v1/x', 'POST'), 'v1-post');
  t.equal(ask(policy, 'api.example.com/v1/chat/completions', 'POST'), 'chat');
});

t.test('a tie between two credentials is refused, between two grants of one it is not', async (t) => {
  const tie = table([rule('a'), rule('b')]).match(AGENT.id, 'api.example.com', 443, 'GET', '/');
  t.match(tie, { code: 'policy_denied', message: /narrow the grants/ });
  const same = table([rule('a', { credential: 'c' }), rule('b', { credential: 'c' })]);
  t.equal(ask(same, 'api.example.com/'), 'a');
});

t.test('an ambiguous path is refused where a rule for the host depends on the path', async (t) => {
  t.equal(ask(table([rule('a')]), 'api.example.com/x/../y'), 'a');
  const dependent = table([rule('a'), rule('b', { hosts: ['*.example.com'], paths: ['/x'] })]);
  t.equal(ask(dependent, 'api.example.com/x/../y'), 'policy_denied');
  t.equal(ask(dependent, 'api.example.com/x/y'), 'a');
});

t.test('what failed authentication is refused by name: state, agent, rule', async (t) => {
  t.equal(ask(table([rule('a')], { integrity: 'head' }), 'api.example.com/'), 'integrity_failed');
  t.equal(
    ask(table([rule('a')], { agents: [{ ...AGENT, integrity: 'row' }] }), 'api.example.com/'),
    'integrity_failed',
  );
  const forged = rule('forged', { integrity: 'row', paths: ['/v1/admin'] });
  t.equal(ask(table([rule('a'), forged]), 'api.example.com/v1/admin'), 'integrity_failed');
  t.equal(ask(table([rule('a'), forged]), 'api.example.com/v1'), 'a');
  t.equal(ask(table([rule('a'), { ...forged, paths: [] }]), 'api.example.com/'), 'integrity_failed');
});

t.test('two agents of one name are not trusted', async (t) => {
  const policy = table([rule('a')], { agents: [{ ...AGENT, id: 'agt_0' }, AGENT] });
  t.ok(policy.agentByName('coder')?.integrity);
  t.equal(ask(policy, 'api.example.com/'), 'integrity_failed');
});

t.test('tells a destination from another port of it and from none', async (t) => {
  const policy = table([rule('a', { hosts: ['api.example.com', { pattern: '*.x.com', port: 8443 }] })]);
  const found = policy.destination(AGENT.id, 'api.example.com', 443);
  t.equal((found as Destination).pattern, 'api.example.com');
  t.equal(policy.destination(AGENT.id, 'api.example.com', 80), 'other-port');
  t.equal(policy.destination(AGENT.id, 'a.x.com', 443), 'other-port');
  t.equal(policy.destination(AGENT.id, 'x.com', 443), 'none');
  t.equal(policy.destination('agt_2', 'api.example.com', 443), 'none');
});

t.test('a refusal is one printable line that names the way out, and no other agent', async (t) => {
  const policy = table([rule('a', { paths: ['/v1'], methods: ['GET'] }), rule('b', { agent: 'agt_2' })], {
    agents: [AGENT, { ...AGENT, id: 'agt_2', name: 'reviewer' }],
  });
  const refusals = [
    policy.match(AGENT.id, 'www.example.com', 443, 'GET', '/'),
    policy.match(AGENT.id, 'api.example.com', 8443, 'GET', '/'),
    policy.match(AGENT.id, 'api.example.com', 443, 'POST', '/v1'),
    policy.match(AGENT.id, 'api.example.com', 443, 'GET', `/${'é$(rm)'.repeat(200)}`),
  ];
  for (const answer of refusals) {
    const { message } = answer as Refusal;
    t.match(message, /^[\x20-\x7e]{40,400}$/);
    t.match(message, /sallyport grant add coder /);
    t.match(message, /key/);
    t.notMatch(message, /reviewer/);
  }
  t.match((refusals[3] as Refusal).message, /grant add coder example --method METHOD --path PREFIX"/);
});

t.test('finds what a search through all rules in order of their specificity finds', async () => {
  const hosts = fc.constantFrom('a.x.com', 'b.a.x.com', '*.x.com', '**.x.com', '**.a.x.com', '*.a.x.com');
  const prefixes = fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/b/', '/ab');
  const service = fc.oneof(prefixes, fc.constantFrom('/*', '/*/b', '/a*b', '/*a*', '/a*a'));
  const rules = fc.array(
    fc.record({
      pattern: hosts,
      paths: fc.array(service, { maxLength: 2 }),
      granted: fc.array(prefixes, { maxLength: 2 }),
      methods: fc.constantFrom<string[]>([], ['GET'], ['POST', 'PUT']),
      credential: fc.constantFrom('c1', 'c2'),
    }),
    { maxLength: 6 },
  );
  const request = fc.record({
    host: fc.constantFrom('a.x.com', 'b.a.x.com', 'c.b.a.x.com', 'x.com'),
    method: fc.constantFrom('GET', 'PUT', 'HEAD'),
    path: fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/b/c', '/ab', '/abc', '/c/b', '/a/bb'),
  });
  fc.assert(
    fc.property(rules, request, (made, { host, method, path }) => {
      const all = made.map(({ pattern, paths, granted, methods, credential }, index) =>
        rule(String(index), { hosts: [{ pattern, paths }], paths: granted, methods, credential }),
      );
      const answer = table(all).match(AGENT.id, host, 443, method, path);
      const expected = search(all, host, method, path);
      const got = 'code' in answer ? answer.code : answer.credential;
      if (got !== expected) throw new Error(`${got}, not ${expected}`);
    }),
    { numRuns: 4000 },
  );
});

/** The rules of the specification, one after the other, over every rule. Answers a credential or a code. */
function search(rules: readonly Rule[], host: string, method: string, path: string): string {
  const covering = rules.filter(({ hosts: [on] }) => hostRank(on?.pattern ?? '', host) >= 0);
  if (covering.length === 0) return 'host_not_granted';
  const ranked = covering
    .filter(({ methods }) => methods.length === 0 || methods.includes(method))
    .map((each) => {
      const [on] = each.hosts;
      const ours = longest(on?.paths ?? [], (pattern) => globRegExp(pattern).test(path));
      const granted = longest(each.paths, (prefix) => prefixRegExp(prefix).test(path));
      const rank = [
        hostRank(on?.pattern ?? '', host),
        Math.max(ours, granted),
        each.methods.length > 0 ? 1 : 0,
      ];
      return { each, rank, matches: ours >= 0 && granted >= 0 };
    })
    .filter(({ matches }) => matches)
    .sort((a, b) => compare(b.rank, a.rank));
  const best = ranked.filter(({ rank }) => compare(rank, ranked[0]?.rank ?? []) === 0);
  const credentials = new Set(best.map(({ each }) => each.credential));
  if (credentials.size > 1) return 'policy_denied';
  return [...credentials][0] ?? 'policy_denied';
}

function hostRank(pattern: string, host: string): number {
  if (pattern === host) return 10_000;
  const suffix = pattern.replace(/^\*+/, '');
  if (suffix === pattern || !host.endsWith(suffix) || host.length === suffix.length) return -1;
  if (pattern.startsWith('**')) return suffix.length;
  return host.slice(0, -suffix.length).includes('.') ? -1 : 1000 + suffix.length;
}

const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const prefixRegExp = (prefix: string) =>
  new RegExp(prefix.endsWith('/') ? `^${literal(prefix)}` : `^${literal(prefix)}(/|$)`);
const globRegExp = (pattern: string) =>
  pattern.includes('*')
    ? new RegExp(`^${pattern.split('*').map(literal).join('.*')}$`)
    : prefixRegExp(pattern);

/** Literal characters of the longest matching pattern; 0 where there are none to match, -1 where none matches. */
function longest(patterns: readonly string[], matches: (pattern: string) => boolean): number {
  if (patterns.length === 0) return 0;
  return Math.max(-1, ...patterns.filter(matches).map((pattern) => pattern.replaceAll('*', '').length));
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) if (value !== b[index]) return value - (b[index] ?? 0);
  return 0;
}

t.test('a match among 20,000 rules of one agent costs what one among 20 costs', async (t) => {
  const many = (count: number) =>
    table(
      Array.from({ length: count }, (_, i) =>
        rule(String(i), { hosts: [i % 2 ? `h${i}.example.com` : { paths: [`/repos/r${i}`] }] }),
      ),
    );
  const time = (policy: PolicyTable): number => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 20_000; i++)
      policy.match(AGENT.id, 'api.example.com', 443, 'GET', '/repos/r8/issues');
    return Number(process.hrtime.bigint() - start);
  };
  const [small, large] = [many(20), many(20_000)];
  time(small);
  const ratios = Array.from({ length: 5 }, () => time(large) / time(small));
  t.ok(Math.min(...ratios) < 3, `ratios ${ratios.map((ratio) => ratio.toFixed(2)).join(' ')}`);
});
