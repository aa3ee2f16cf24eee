import { generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { z } from 'zod';
import type { Rule } from '../../src/channel/messages/policy.ts';
import type { FromWorker } from '../../src/channel/messages/worker.ts';
import type { CapturedWorker } from '../support/captured-worker.ts';
import type { Sallyport } from '../support/sallyport.ts';

const SERVICES = ['acme', 'other'].map((id) => ({
  id,
  hosts: [{ pattern: `api.${id}.example` }],
  auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
  fields: [{ key: 'token' }],
}));
const Added = z.object({ id: z.string(), token: z.string() });

/** A captured worker to which "bot" talks: it gets what bot may have, and nothing else; all of it is recorded. */
export async function asks(t: Test, worker: CapturedWorker, sallyport: Sallyport): Promise<void> {
  await sallyport.cli(['service', 'add', '--file', '-'], { stdin: JSON.stringify(SERVICES) });
  const bot = Added.parse(await sallyport.json(['agent', 'add', 'bot']));
  const mallory = Added.parse(await sallyport.json(['agent', 'add', 'mallory']));
  await sallyport.cli(['credential', 'set', 'acme', '--agent', 'bot'], { stdin: "bot's secret" });
  await sallyport.cli(['credential', 'set', 'other', '--agent', 'mallory'], { stdin: "mallory's secret" });
  const vault = await worker.vault;
  const secretOf = (service: string): Extract<FromWorker, { type: 'secret' }> => {
    const rule: Rule | undefined = vault.policy.rules.find((each) => each.service === service);
    if (!rule) throw new Error(`the worker has no rule for ${service}`);
    const { agent, id, credential, version } = rule;
    return {
      type: 'secret',
      agent,
      rule: id,
      credential,
      version,
      host: `api.${service}.example`,
      port: 443,
    };
  };
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const leafFor = (agent: string, host: string): FromWorker => ({ type: 'leaf', agent, host, port: 443 });
  const token = Buffer.from(bot.token);

  const own = await vault.ask(secretOf('acme'), [token]);
  t.equal(own.parts[0]?.toString(), "bot's secret", 'what the agent that talks to it may have');
  t.match((await vault.ask(leafFor(bot.id, 'api.acme.example'), [token, spki])).code, undefined);

  const cases: [string, FromWorker, Buffer[]][] = [
    ["another agent's secret", secretOf('other'), [token]],
    ["another agent's secret, without a token", secretOf('other'), []],
    ["another agent's secret in bot's name", { ...secretOf('other'), agent: bot.id }, [token]],
    ["bot's secret for another host", { ...secretOf('acme'), host: 'evil.example' }, [token]],
    ["bot's secret for another port", { ...secretOf('acme'), port: 8443 }, [token]],
    ["bot's secret, without its token", secretOf('acme'), [Buffer.from('spa_guessed')]],
    ['a leaf for a host of nobody', leafFor(bot.id, 'evil.example'), [token, spki]],
    ["a leaf for another agent's host", leafFor(bot.id, 'api.other.example'), [token, spki]],
    ["a leaf in another agent's name", leafFor(mallory.id, 'api.other.example'), [token, spki]],
  ];
  for (const [what, message, parts] of cases) {
    const before = refusals(sallyport).length;
    const { code, parts: answered, header } = await vault.ask(message, parts);
    t.equal(code, 'policy_denied', what);
    t.same(answered, [], 'nothing comes with it');
    t.notMatch(JSON.stringify(header), /secret|spa_/);
    const recorded = refusals(sallyport);
    t.equal(recorded.length, before + 1, 'and it is on record');
    t.match(recorded.at(-1), {
      action: message.type,
      detail: { worker: /^worker-\d-1$/, code: 'policy_denied' },
    });
  }
}

function refusals({ data }: Sallyport): unknown[] {
  const folder = join(data, 'journal');
  const files = readdirSync(folder).filter((name) => name.includes('-vault-'));
  const lines = files.flatMap((name) => readFileSync(join(folder, name), 'utf8').trim().split('\n'));
  return lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'refusal');
}
