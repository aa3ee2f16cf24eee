import fc from 'fast-check';
import t from 'tap';
import type { Rule } from '../../../src/channel/messages/policy.ts';
import { PASSED } from '../../../src/proxy/policy/match.ts';
import { isTokenEndpoint } from '../../../src/proxy/policy/token-endpoint.ts';

const PATH = '/v2/users/login';
const rule: Rule = { ...PASSED, tokenEndpoint: { host: 'hub.test', port: 443, path: PATH } };
const is = (path: string) => isTokenEndpoint(rule, 'hub.test', 443, path);

t.test('the endpoint is known in every spelling that a server might take for it', async () => {
  const escaped = (character: string): string => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  const letter = (character: string) =>
    fc.constantFrom(
      character,
      character.toUpperCase(),
      escaped(character),
      escaped(character).replace('%', '%25'),
    );
  const slash = fc.constantFrom('/', '//', '/./', '\\', '%2f', '%5C', '/x/../', '/%2e/', ';a=b/');
  const spelling = fc
    .tuple(...[...PATH.slice(1)].map((character) => (character === '/' ? slash : letter(character))))
    .map((parts) => `/${parts.join('')}`);
  const end = fc.constantFrom('', '/', ';v=1', '/.', '//');
  fc.assert(
    fc.property(spelling, end, (path, after) => is(path + after)),
    { numRuns: 3_000 },
  );
});

t.test('other paths, hosts and ports are not it', async (t) => {
  for (const path of [
    '/',
    '/v2/users',
    '/v2/users/login2',
    '/v2/users/login/x',
    '/v2/users/log/in',
    '/v2/login',
    '',
  ])
    t.notOk(is(path), path);
  t.notOk(isTokenEndpoint(rule, 'api.hub.test', 443, PATH));
  t.notOk(isTokenEndpoint(rule, 'hub.test', 8443, PATH));
  t.notOk(isTokenEndpoint(PASSED, 'hub.test', 443, PATH));
  const odd = fc.stringMatching(/^\/[ -~]{0,30}$/);
  fc.assert(
    fc.property(odd, (path) => typeof is(path) === 'boolean' && !(is(path) && !/login|%|\\/i.test(path))),
  );
});
