import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { readPem } from '../../../certs/pem.ts';
import { ACME, install, TestVault } from '../../support/vault.ts';
import { workerKey } from './authority.ts';

t.setTimeout(60_000);
const installation = await install();
const vault = await TestVault.start(installation);
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
const WILD = { ...ACME, id: 'wild', hosts: [{ pattern: '*.wild.example' }] };
await vault.call('POST', '/v1/services', { services: [ACME, WILD] });
const bot = await vault.addAgent('bot');
const worker = await vault.worker();
const { spki } = workerKey();

/** The issuing authority of a fresh leaf for `host`, or the code of the refusal. */
async function issuing(host: string): Promise<X509Certificate | string> {
  const { parts, code } = await worker.ask({ type: 'leaf', agent: bot.id, host, port: 443 }, [
    bot.token,
    spki,
  ]);
  const der = readPem(String(parts[0]))[1];
  return der ? new X509Certificate(der) : String(code);
}

/** Whether its constraints name the host: as a dNSName it stands in the certificate as it is. */
const names = (of: X509Certificate | string, host: string): boolean =>
  typeof of !== 'string' && of.raw.includes(host);

t.test('the issuing authority is confined to the grants of the moment, for a week at most', async (t) => {
  t.equal(await issuing('api.acme.example'), 'policy_denied', 'an agent without grants has no leaf');
  await vault.setCredential('acme', { token: 'value' }, { agents: ['bot'] });
  const first = await issuing('api.acme.example');
  t.ok(names(first, 'api.acme.example'));
  t.notOk(names(first, 'wild.example'));
  if (typeof first !== 'string') t.ok(first.validToDate.getTime() - Date.now() <= 7 * 86_400_000);
  t.same(String(await issuing('api.acme.example')), String(first), 'the same for the next leaf');

  await vault.setCredential('wild', { token: 'value' }, { agents: ['bot'] });
  const second = await issuing('a.wild.example');
  t.ok(names(second, 'api.acme.example') && names(second, 'wild.example'), 'another one for other grants');
  t.not(String(second), String(first));

  t.equal((await vault.call('DELETE', '/v1/grants?agent=bot&service=acme')).status, 200);
  t.equal(await issuing('api.acme.example'), 'policy_denied');
  const third = await issuing('b.wild.example');
  t.notOk(names(third, 'api.acme.example'), 'what was taken back is in it no more');
  t.ok(names(third, 'wild.example'));
});
