import { generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { countInMemory } from '../../support/process-memory.ts';
import { TokenScene } from '../../support/token-scene.ts';

t.setTimeout(120_000);
const scene = await TokenScene.start();
t.teardown(() => scene.close());
const { endpoint, ask } = scene;
const { vault } = scene;
const marker = (): string => `marker-${randomBytes(24).toString('hex')}`;
const texts = (text: string): Buffer[] => [Buffer.from(text, 'latin1'), Buffer.from(text, 'utf16le')];
/** A private number as it stands in DER, and as OpenSSL keeps it: the least byte first. */
const numbers = (base64url: string | undefined): Buffer[] => {
  const number = Buffer.from(base64url ?? '', 'base64url').subarray(0, 32);
  const whole = Buffer.from(base64url ?? '', 'base64url');
  return [number, Buffer.from(whole).reverse().subarray(0, 32)];
};
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const pem = rsa.export({ type: 'pkcs8', format: 'pem' });
const line = (text: string): string => text.split('\n')[12] ?? '';

t.test('refresh tokens, client secrets and private keys are gone once their token is made', async (t) => {
  const [secret, first, second, token] = [marker(), marker(), marker(), marker()];
  const publicFields = { client_id: 'id' };
  await vault.setCredential(
    'consent',
    { client_secret: secret, refresh_token: first },
    { agents: ['bot'], publicFields },
  );
  const key_json = JSON.stringify({ client_email: 'a@b.c', private_key_id: 'k', private_key: pem });
  await vault.setCredential('account', { key_json }, { agents: ['bot'], publicFields: { scopes: 's' } });
  const private_key = ec.export({ type: 'sec1', format: 'pem' });
  await vault.setCredential('signed', { private_key }, { agents: ['bot'], publicFields: { key_name: 'k' } });
  endpoint.answer({ access_token: token, expires_in: 3600, refresh_token: second });
  for (const service of ['consent', 'account']) {
    for (let i = 0; i < 20; i++) {
      const { parts, code } = await ask(service);
      if (String(parts[0]) !== token) throw new Error(`${service}: ${code}`);
    }
  }
  for (let i = 0; i < 100; i++) {
    const { code } = await ask('signed', { method: 'GET', path: `/${i}` });
    if (code !== undefined) throw new Error(code);
  }
  await vault.until('no exchanger is left', () => vault.exchangers.size === 0);
  const { d, p } = rsa.export({ format: 'jwk' });
  const scalar = ec.export({ format: 'jwk' }).d;
  const needles = [
    ...[secret, first, second, token, line(pem), line(private_key) || private_key.slice(40, 90)].flatMap(
      texts,
    ),
    ...[d, p, scalar].flatMap(numbers),
  ];
  t.ok(
    countInMemory(process.pid, needles).filter((count) => count > 0).length >= 6,
    'the scan finds them where they are: here',
  );
  const none = needles.map(() => 0);
  t.same(countInMemory(vault.process.pid ?? 0, needles), none, 'vault');
  t.same(countInMemory(vault.keyholder?.pid ?? 0, needles), none, 'keyholder');
});
