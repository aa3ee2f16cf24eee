import { copyFileSync, cpSync, rmSync } from 'node:fs';
import t from 'tap';
import { install, TestVault } from '../../support/vault.ts';
import { ATTACKS, history, sql } from './tampering.ts';

t.setTimeout(120_000); // each start is two processes
const installation = await install();
const { database, hsm } = installation;
const seen = await history(installation);
const sound = `${database}.sound`;
copyFileSync(database, sound);
t.teardown(() => installation.remove());

/** Starts a vault on the database as `prepare` leaves it, with one worker; ends it after `check`. */
async function restarted(prepare: () => void, check: (vault: TestVault) => Promise<unknown>): Promise<void> {
  rmSync(`${database}-wal`, { force: true });
  rmSync(`${database}-shm`, { force: true });
  copyFileSync(sound, database);
  prepare();
  const vault = await TestVault.start(installation);
  try {
    await check(vault);
  } finally {
    await vault.kill();
  }
}

t.test('what nobody touched is served after a restart', (t) =>
  restarted(
    () => {},
    async (vault) => {
      const worker = await vault.worker();
      t.equal(worker.policy.integrity, null);
      t.equal((await worker.askSecret(seen.token)).parts[0]?.toString(), 'third');
      t.equal(vault.stderr, '');
    },
  ),
);

// The others are tried over a restart in test/attacks, through the real CLI.
for (const attack of ATTACKS.filter(({ restart, genuine, confined }) => restart && (genuine || confined))) {
  t.test(`${attack.name}: noticed by the next vault`, (t) =>
    restarted(
      () =>
        sql(database, (db) => {
          db.pragma('foreign_keys = OFF');
          attack.apply(db, seen);
        }),
      async (vault) => {
        const worker = await vault.worker();
        const state = /is not the one that the anchor names|is an older one/;
        const named = attack.genuine ? state : attack.named(seen);
        if (attack.confined) {
          t.equal(worker.policy.integrity, null, 'the rest is sound');
          t.match(worker.policy.rules[0]?.integrity, named);
        } else t.match(worker.policy.integrity, named);
        await vault.until('the alarm is raised', () => vault.stderr !== '');
        t.match(vault.stderr, /^sallyport: integrity_failed: /);
        t.match((await vault.get('/v1/status')).body.integrity.state, 'integrity_failed');
        const rule = { agent: 'x', rule: 'x', credential: seen.current, version: 3 };
        const asked = { ...(worker.policy.rules[0] ? {} : rule), host: 'api.acme.example', port: 443 };
        const answer = worker.policy.rules[0]
          ? await worker.askSecret(seen.token, asked)
          : await worker.ask({ type: 'secret', ...rule, ...asked }, [seen.token]);
        t.equal(answer.code, 'integrity_failed', 'no secret is released');
        const change = await vault.call('PUT', '/v1/grants', {
          agent: 'mallory',
          service: 'acme',
          label: 'spare',
        });
        t.match(change, { status: 403, body: { code: 'integrity_failed' } });
      },
    ),
  );
}

for (const change of [
  'counter = counter + 5',
  'mac = zeroblob(32)',
  "contents = replace(contents, 'a', 'b')",
]) {
  t.test(`a record of the state that is not the vault's is noticed: ${change}`, (t) =>
    restarted(
      () => sql(database, (db) => db.exec(`UPDATE state SET ${change}`)),
      async (vault) => {
        const worker = await vault.worker();
        t.match(worker.policy.integrity, /The record of the database's state was changed by somebody else/);
        const { body } = await vault.get('/v1/integrity');
        t.match(body, { state: 'integrity_failed', failures: [{ table: 'state' }] });
      },
    ),
  );
}

t.test('a whole older database is known for one', (t) =>
  restarted(
    () => copyFileSync(seen.olderFile, database),
    async (vault) => {
      const worker = await vault.worker();
      t.match(worker.policy.integrity, /The database is an older one \(state 5; the anchor says 10\)/);
    },
  ),
);

t.test('a database without its token, or with another one, opens nothing', async (t) => {
  const other = await install();
  t.teardown(() => other.remove());
  copyFileSync(sound, other.database);
  const vault = await TestVault.start(other);
  const worker = await vault.worker();
  t.match(worker.policy.integrity, /of agents was not written by the vault/);
  t.same(worker.policy.rules, []);
  const asked = {
    agent: 'x',
    rule: 'x',
    credential: seen.current,
    version: 3,
    host: 'api.acme.example',
    port: 443,
  };
  t.equal((await worker.ask({ type: 'secret', ...asked }, [seen.token])).code, 'integrity_failed');
  await vault.kill();
});

t.test('where a trigger was added, no row is even read', (t) =>
  restarted(
    () => sql(database, (db) => db.exec('CREATE TRIGGER keep AFTER UPDATE ON agents BEGIN SELECT 1; END')),
    async (vault) => {
      const { policy } = await vault.worker();
      t.match(policy, { integrity: /triggers or views that the vault did not make/, agents: [], rules: [] });
    },
  ),
);

t.test('a database emptied is no new one', (t) =>
  restarted(
    () =>
      sql(database, (db) => {
        db.pragma('foreign_keys = OFF');
        for (const table of [
          'grants',
          'credential_versions',
          'credentials',
          'services',
          'authorities',
          'agents',
        ])
          db.exec(`DELETE FROM ${table}`);
      }),
    async (vault) => t.match((await vault.worker()).policy.integrity, /is an older one \(state 0/),
  ),
);

t.test('a crash before the anchor was written loses nothing', async (t) => {
  // The token as it was before the last change: what the crash, or a power failure, leaves.
  const tokens = `${installation.folder}/tokens-before`;
  await restarted(
    () => cpSync(hsm.tokens, tokens, { recursive: true }),
    async (vault) => {
      t.match(await vault.call('PUT', '/v1/grants', { agent: 'mallory', service: 'acme', label: 'spare' }), {
        status: 200,
      });
      t.equal(await vault.stop(), 0, vault.stderr);
    },
  );
  rmSync(hsm.tokens, { recursive: true });
  cpSync(tokens, hsm.tokens, { recursive: true });
  copyFileSync(database, sound);
  await restarted(
    () => {},
    async (vault) => {
      const worker = await vault.worker();
      t.equal(worker.policy.integrity, null, 'the database may be ahead of its anchor');
      t.equal(worker.policy.rules.length, 2);
      await vault.stop();
    },
  );
  await restarted(
    () => sql(database, (db) => db.exec('UPDATE state SET mac = zeroblob(32)')),
    async (vault) => t.equal((await vault.worker()).policy.integrity, null, 'and was then anchored'),
  );
});

t.test('nobody but the vault gets ahead of the anchor', (t) =>
  restarted(
    () =>
      sql(database, (db) => {
        db.exec('UPDATE state SET counter = counter + 1');
        db.exec('UPDATE grants SET generation = generation + 5 WHERE rowid = 1');
      }),
    async (vault) =>
      t.match((await vault.worker()).policy.integrity, /of grants was not written by the vault/),
  ),
);

// The last one: the anchor is another afterwards.
t.test('whoever knows that the rest is right may accept a state without its own record', (t) =>
  restarted(
    () => sql(database, (db) => db.exec('UPDATE state SET mac = zeroblob(32)')),
    async (vault) => {
      const worker = await vault.worker();
      const { body } = await vault.get('/v1/integrity');
      const accepted = await vault.call('POST', '/v1/integrity/accept', { digest: body.head.digest });
      t.equal(accepted.status, 200);
      await vault.until('it is served again', () => worker.policy.integrity === null);
    },
  ),
);
