import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { countInMemory } from '../support/process-memory.ts';
import { ACME, install, TestVault } from '../support/vault.ts';

t.setTimeout(120_000);
const installation = await install();
const vault = await TestVault.start(installation);
let worker = await vault.worker();
t.teardown(async () => {
  await vault.stop();
  installation.remove();
});
await vault.call('POST', '/v1/services', { services: [ACME] });
const { token } = await vault.addAgent('bot');

const ROUNDS = 100;
const secret = `marker-${randomBytes(24).toString('hex')}`;
const needles = [Buffer.from(secret, 'latin1'), Buffer.from(secret, 'utf16le')];
/** Scanning blocks this process for as long as a vault waits for a worker: the next worker is a new one. */
const scan = async (
  child: { pid?: number | undefined } | undefined,
  needles: readonly Buffer[],
): Promise<number[]> => {
  const counts = countInMemory(pid(child), needles);
  worker = await vault.worker();
  return counts;
};
const pid = (child: { pid?: number | undefined } | undefined): number => child?.pid ?? -1;

t.test('the scan finds what is there', async (t) => {
  t.ok((countInMemory(process.pid, needles)[0] ?? 0) > 0, 'this test holds the secret itself');
});

t.test('a secret that was set and released leaves no copy in the vault or the keyholder', async (t) => {
  await vault.setCredential('acme', { token: secret }, { agents: ['bot'] });
  for (let i = 0; i < ROUNDS; i++) {
    const { parts, code } = await worker.askSecret(token);
    if (code !== undefined || String(parts[0]) !== secret) throw new Error(`not released: ${code}`);
  }
  t.same(await scan(vault.process, needles), [0, 0], 'vault');
  t.same(await scan(vault.keyholder, needles), [0, 0], 'keyholder');
});

t.test('nor does one that is refused, moved or replaced', async (t) => {
  t.equal((await vault.setCredential('acme', { token: `${secret}\n` })).status, 422);
  t.equal((await vault.setCredential('acme', { token: secret, other: secret })).status, 422);
  await vault.call('POST', '/v1/services', {
    services: [{ ...ACME, hosts: [{ pattern: 'moved.example' }] }],
  });
  t.equal(String((await worker.askSecret(token)).parts[0]), secret);
  await vault.setCredential('acme', { token: 'another' });
  t.same(await scan(vault.process, needles), [0, 0]);
});

t.test("nor is it, or the agent's token, in a file or an environment", async (t) => {
  const hidden = [...needles, token];
  for (const folder of [installation.folder, installation.hsm.folder]) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = readFileSync(join(entry.parentPath, entry.name));
      t.notOk(
        hidden.some((needle) => bytes.includes(needle)),
        entry.name,
      );
    }
  }
  const environment = readFileSync(`/proc/${pid(vault.process)}/environ`);
  t.notOk(
    hidden.some((needle) => environment.includes(needle)),
    'environment',
  );
  t.same(await scan(vault.process, [token]), [0], 'the token neither: workers show it, the vault hashes it');
});
