import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { AgentTunnel } from '../support/agent.ts';
import { cli } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';

/*
 * A backup from before a KEK was retired is put back: what needs that KEK is named wherever somebody could wonder, and what is
 * said to mend it does.
 */
t.setTimeout(180_000);
const Report = z.object({
  head: z.object({ digest: z.string() }),
  missing: z.string(),
  missingKeks: z.array(
    z.object({
      kek: z.string(),
      rows: z.array(z.object({ table: z.string(), what: z.string(), mend: z.array(z.string()) })),
    }),
  ),
});
const scene = await startScene({ flags: ['--workers', '1', '--proxy-tls-listen', '127.0.0.1:0'] });
let { sallyport } = scene;
t.teardown(scene.remove);
t.teardown(() => sallyport.stop());
const backup = join(sallyport.data, '..', 'before.backup');
const bot = await scene.addAgent('bot');
await scene.setCredential('bearer', 'first', { agents: ['bot'] });
await scene.setCredential('bearer', 'second');
await sallyport.cli(['backup', 'create', backup]);
await sallyport.cli(['hsm', 'rotate']);
await sallyport.cli(['hsm', 'retire', 'sallyport-kek-1']);
await sallyport.stop();
await sallyport.cli(['backup', 'restore', backup]);
sallyport = await sallyport.restart();

async function check(): Promise<z.infer<typeof Report>> {
  const checked = await cli(['--data', sallyport.data, '--json', 'integrity', 'check']);
  return Report.parse(checked.json());
}

t.test('start, check and accept say which KEK is missing, and what needs it', async (t) => {
  const said = /The token holds no sallyport-kek-1, which 4 data keys are wrapped with/;
  t.match(sallyport.stderr(), said);
  const { head, missing } = await check();
  t.match(missing, said);
  const accepted = await sallyport.cli(['integrity', 'accept', '--yes', '--digest', head.digest]);
  t.match(accepted.stderr, said);
  t.match(await sallyport.json(['status']), { missingKeks: [{ kek: 'sallyport-kek-1' }] });
  t.match((await sallyport.cli(['status'])).stdout, /^missing +sallyport-kek-1, which 4 rows need: /m);
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, 'bearer.test').catch(String);
  t.match(tunnel, / 500/, 'the agent is refused');
});

t.test('a rotation changes nothing and names what it cannot rewrap', async (t) => {
  const refused = await sallyport.failure(['hsm', 'rotate']);
  for (const what of [
    'version 1 of bearer "default": `sallyport credential shred crd_',
    'version 2 of bearer "default": `sallyport credential set bearer --label default`, then `sallyport credential shred crd_',
    'the CA of agent bot: `sallyport agent rotate-ca bot`, then `sallyport agent retire-ca bot`',
    'the CA of the TLS listener: `sallyport authority rotate`, then `sallyport authority retire`',
  ])
    t.match(refused, what);
  t.match(refused, /\[hsm_key_missing\]\n$/);
  t.match(await sallyport.json(['hsm', 'status']), { info: { kek: 'sallyport-kek-2' } }, 'no KEK was made');
});

t.test('what is named mends it', async (t) => {
  const { missingKeks } = await check();
  for (const { mend } of missingKeks.flatMap(({ rows }) => rows)) {
    for (const command of mend) await sallyport.cli(command.split(' ').slice(1), { stdin: 'third' });
  }
  t.match(await check(), { missingKeks: [], missing: '' });
  t.match((await sallyport.cli(['hsm', 'rotate'])).stdout, /rewrapped with sallyport-kek-3\.\n$/);
  t.match(await sallyport.json(['status']), { missingKeks: [], integrity: { state: 'ok' } });
  scene.upstream.forget();
  const { stdout } = await sallyport.cli(['agent', 'ca', 'bot']);
  const tunnel = await AgentTunnel.open(sallyport.proxy, { ...bot, ca: stdout }, 'bearer.test');
  t.equal((await tunnel.request('/')).status, 200);
  tunnel.close();
  t.same(valuesOf(scene.upstream.last, 'authorization'), ['Bearer third']);
  await sallyport.stop();
  sallyport = await sallyport.restart();
  t.notMatch(sallyport.stderr(), /holds no sallyport-kek/);
});
