import { createHash } from 'node:crypto';
import t from 'tap';
import type { Snapshot } from '../../../src/channel/messages/policy.ts';
import { authenticate } from '../../../src/proxy/policy/authenticate.ts';
import { PolicyTable } from '../../../src/proxy/policy/match.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const agent = (name: string, ...tokens: string[]): Snapshot['agents'][number] => ({
  id: `agt_${name}`,
  name,
  tokens: tokens.map(sha256),
  unlisted: 'deny',
  authority: '1',
  integrity: null,
});
const table = (...agents: Snapshot['agents']) =>
  new PolicyTable(
    { revision: 1, unread: null, integrity: null, listenerAuthority: '', agents, rules: [] },
    () => true,
  );

t.test('takes any valid token of the named agent, and no other', async (t) => {
  const policy = table(agent('a', 'spa_1', 'spa_2'), agent('b', 'spa_3'), agent('none'));
  t.equal(authenticate(policy, 'a', Buffer.from('spa_1'))?.id, 'agt_a');
  t.equal(authenticate(policy, 'a', Buffer.from('spa_2'))?.id, 'agt_a');
  t.equal(authenticate(policy, 'b', Buffer.from('spa_3'))?.id, 'agt_b');
  t.equal(authenticate(policy, 'a', Buffer.from('spa_3')), undefined);
  t.equal(authenticate(policy, 'b', Buffer.from('spa_1')), undefined);
  t.equal(authenticate(policy, 'A', Buffer.from('spa_1')), undefined);
  t.equal(authenticate(policy, 'none', Buffer.from('')), undefined);
  t.equal(authenticate(policy, 'nobody', Buffer.from('spa_1')), undefined);
  t.equal(authenticate(policy, '__proto__', Buffer.from('spa_1')), undefined);
});

t.test('compares as often for a stranger as for any agent', async (t) => {
  const policy = table(agent('a', 'spa_1', 'spa_2', 'spa_4'), agent('b', 'spa_3'), agent('none'));
  for (const name of ['a', 'b', 'none']) t.equal(policy.agentByName(name)?.tokenHashes.length, 3);
  t.equal(policy.strangerHashes.length, 3);
  t.equal(table().strangerHashes.length, 1);
});

t.test('takes as long for a stranger as for an agent', async (t) => {
  const tokens = Array.from({ length: 2000 }, (_, i) => `spa_${i}`);
  const policy = table(agent('a', ...tokens), agent('b', 'spa_x'));
  const time = (name: string): number => {
    const start = process.hrtime.bigint();
    authenticate(policy, name, Buffer.from('spa_wrong'));
    return Number(process.hrtime.bigint() - start);
  };
  const fastest = (name: string) => Math.min(...Array.from({ length: 60 }, () => time(name)));
  fastest('a');
  const [known, few, stranger] = [fastest('a'), fastest('b'), fastest('nobody')];
  for (const other of [few, stranger])
    t.ok(other > known / 2 && other < known * 2, `${other} and ${known} ns`);
});
