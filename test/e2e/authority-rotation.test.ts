import { readFileSync } from 'node:fs';
import t from 'tap';
import { z } from 'zod';
import { readPem, toPem } from '../../certs/pem.ts';
import { type Agent, AgentTunnel } from '../support/agent.ts';
import { startScene } from '../support/scene.ts';

t.setTimeout(180_000);
const scene = await startScene({ flags: ['--workers', '2'], initFlags: ['--authority-keys', 'hsm'] });
t.teardown(scene.remove);
const { sallyport, upstream } = scene;
upstream.respond = (_request, response) => response.end('answer\n');
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'value', { agents: ['bot'] });

/** How an agent fares that trusts these certificates: the status, or why it closes. */
async function fares(ca: string): Promise<number | string> {
  const agent: Agent = { ...bot, ca };
  try {
    const tunnel = await AgentTunnel.open(sallyport.proxy, agent, 'bearer.test');
    const { status } = await tunnel.request('/');
    tunnel.close();
    return status;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

/** The agent's own roots in a PEM file, without that of the proxy's listener. */
const rootsIn = (pem: string): string[] => readPem(pem).slice(0, -1).map(toPem);
const Step = z.object({ name: z.literal('bot'), ca: z.string() });

t.test('the key of an authority is in the HSM, where `hsm status` shows it', async (t) => {
  const status = JSON.stringify(await sallyport.json(['hsm', 'status']));
  t.match(status, /"agt_[0-9a-f]{32}-1"/);
});

t.test(
  'an authority is replaced online: old, new and both are trusted until the old one is retired',
  async (t) => {
    const [old = '', ...none] = rootsIn(bot.ca);
    t.equal(none.length, 0);
    t.equal(await fares(old), 200);
    const open = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test');
    t.teardown(() => open.close());
    t.equal((await open.request('/')).status, 200);
    t.match(
      await sallyport.failure(['agent', 'retire-ca', 'bot']),
      /^1 sallyport: bot has one CA and no earlier one: make a new one with .* first\. \[not_found\]\n$/,
    );

    const { ca } = Step.parse(await sallyport.json(['agent', 'rotate-ca', 'bot']));
    const both = readFileSync(ca, 'utf8');
    t.equal((await sallyport.cli(['agent', 'ca', 'bot'])).stdout.trim(), both.trim());
    const [fresh = '', before] = rootsIn(both);
    t.equal(before, old);
    t.not(fresh, old);
    for (const [who, pem] of Object.entries({ old, new: fresh, both }))
      t.equal(await fares(pem), 200, `trusts ${who}`);
    t.match(
      await sallyport.failure(['agent', 'rotate-ca', 'bot']),
      /^1 sallyport: An earlier CA of bot still counts: .*retire-ca bot.* \[already_exists\]\n$/,
    );
    t.equal((await open.request('/')).status, 200, 'the tunnel of before is still open');

    await sallyport.cli(['agent', 'retire-ca', 'bot']);
    t.same(rootsIn(readFileSync(ca, 'utf8')), [fresh]);
    t.match(await fares(old), /SELF_SIGNED|UNABLE_TO/, 'whoever trusts the old one alone is served no more');
    t.equal(await fares(fresh), 200);
    t.equal((await open.request('/')).status, 200, 'and the tunnel is still open');
    t.match(await sallyport.failure(['agent', 'rotate-ca', 'nobody']), /^1 sallyport: .* \[not_found\]\n$/);
  },
);

t.test('removed with the agent, nothing of it stays in the HSM', async (t) => {
  await sallyport.cli(['agent', 'remove', 'bot']);
  t.notMatch(JSON.stringify(await sallyport.json(['hsm', 'status'])), /agt_/);
});
