import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SQLite from 'better-sqlite3';
import t, { type Test } from 'tap';
import { AgentTunnel, type Answer, basic, connect } from '../support/agent.ts';
import { until } from '../support/processes.ts';
import { cli, serveFolder } from '../support/sallyport.ts';
import { startScene } from '../support/scene.ts';
import { valuesOf } from '../support/upstream.ts';
import { ACME } from '../support/vault.ts';
import { ATTACKS, type Seen, sql } from '../vault/integrity/tampering.ts';

/*
 * Whoever can write the database: the attacks of tampering.ts and some more, with plain SQL on the file of a running
 * `serve`, and of one that is started again afterwards.
 */
t.setTimeout(180_000);
const TABLES = ['agents', 'services', 'credentials', 'credential_versions', 'grants', 'state'];
const HOST = 'api.acme.example';
const scene = await startScene({
  flags: ['--workers', '1'],
  hosts: [`${HOST}:443`, 'evil.example:443'],
  services: [ACME],
});
t.teardown(scene.remove);
const { upstream } = scene;
let { sallyport } = scene;
const database = join(sallyport.data, 'vault', 'sallyport.db');
const bot = await scene.addAgent('bot');
const mallory = await scene.addAgent('mallory');
const seen = await history();
const sound = `${database}.sound`;
keep(sound);

const ATTACKERS_TOKEN = 'spa_of-the-attackers-own';
const MORE = [
  ...ATTACKS,
  {
    name: "an agent's token replaced by one of the attacker's",
    restart: true,
    apply: (db: SQLite.Database) =>
      db
        .prepare("UPDATE agents SET token_hash = ? WHERE name = 'bot'")
        .run(createHash('sha256').update(ATTACKERS_TOKEN).digest()),
    named: () => /row agt_\w+ of agents/,
  },
  {
    name: 'a whole older state put back',
    restart: true,
    genuine: true,
    apply: (db: SQLite.Database) => replaceAll(db, seen.olderFile),
    named: () => /row \S+ of \w+/,
  },
];

t.test('as long as nobody has touched it, requests go through', (t) => served(t));

for (const { name, apply, named } of MORE) {
  t.test(`${name}: the running program refuses by name`, async (t) => {
    const said = sallyport.stderr().length;
    const tunnel = await AgentTunnel.open(sallyport.proxy, bot, HOST);
    t.teardown(() => tunnel.close());
    tamper((db) => apply(db, seen));
    await until('it is noticed', 2_000, () => /integrity_failed/.test(sallyport.stderr().slice(said)));
    await refused(t, sallyport.stderr().slice(said), named(seen));
    upstream.forget();
    t.match(await tunnel.request('/'), { status: 403, headers: { 'x-sallyport-error': 'integrity_failed' } });
    t.equal(upstream.received.length, 0, 'nothing is sent on a tunnel that was open before');
    tamper((db) => replaceAll(db, sound));
    await until('it is sound again', 2_000, () => /integrity restored/.test(sallyport.stderr().slice(said)));
    await served(t);
  });
}

for (const { name, apply, named, genuine } of MORE.filter(({ restart }) => restart)) {
  t.test(`${name}: the program that is started next refuses by name`, async (t) => {
    await sallyport.stop();
    tamper((db) => apply(db, seen));
    sallyport = await sallyport.restart();
    t.teardown(async () => {
      await sallyport.stop();
      tamper((db) => replaceAll(db, sound));
    });
    await until('it is noticed', 2_000, () => /integrity_failed/.test(sallyport.stderr()));
    // A row that the vault wrote once is no forgery: there the state as a whole is the wrong one.
    const state = /is not the one that the anchor names|is an older one/;
    await refused(t, sallyport.stderr(), genuine ? state : named(seen));
    t.match(
      await sallyport.failure(['grant', 'add', 'mallory', 'acme', '--label', 'spare']),
      /^1 sallyport: [^\n]+ \[integrity_failed\]\n$/,
      'nothing is changed on top of it',
    );
  });
}

t.test('once it is as it was, it is served again', async (t) => {
  await sallyport.stop();
  sallyport = await sallyport.restart();
  await served(t);
  t.match(await sallyport.json(['status']), { integrity: { state: 'ok', failures: [] } });
  t.equal(sallyport.stderr(), '');
});

t.test('without the token a copy of the data folder opens nothing', async (t) => {
  await sallyport.stop();
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-stolen-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const stolen = join(folder, 'data');
  cpSync(sallyport.data, stolen, { recursive: true, filter: (path) => !path.endsWith('.sock') });
  const tokens = join(stolen, 'token', 'tokens');
  for (const name of readdirSync(tokens)) rmSync(join(tokens, name), { recursive: true });
  const serve = ['--data', stolen, 'serve', '--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
  const without = await cli(serve);
  t.match(without, { code: 1, stdout: '', stderr: /^sallyport: [^\n]+ \[hsm_token_missing\]\n$/ });

  // With a token of the thief's own, under the thief's own PIN.
  const own = join(folder, 'own');
  t.equal((await cli(['init', '--data', own])).code, 0);
  copyFileSync(database, join(own, 'vault', 'sallyport.db'));
  const thief = await serveFolder(own, `${own}.pin`);
  t.teardown(() => thief.stop());
  t.match(await thief.json(['status']), { integrity: { state: 'integrity_failed' } });
  upstream.forget();
  const { answer, socket } = await connect(thief.proxy, `${HOST}:443`, basic(bot));
  socket.destroy();
  t.match(answer, { status: 403, headers: { 'x-sallyport-error': 'integrity_failed' } });
  t.equal(upstream.received.length, 0);
});

/** The running program, as whoever meets it sees it: the alarm, `status` and the agent's refusals name it. */
async function refused(t: Test, said: string, named: RegExp): Promise<void> {
  t.match(said, /^sallyport: integrity_failed: [^\n]+\n$/, 'one line on stderr');
  t.match(said, named, 'which says what is wrong');
  t.match(await sallyport.json(['status']), {
    integrity: { state: 'integrity_failed', failures: [{ table: String, id: String, reason: String }] },
  });
  upstream.forget();
  for (const { name, token } of [bot, mallory, { name: 'bot', token: ATTACKERS_TOKEN }]) {
    for (const host of [HOST, 'evil.example']) {
      const { status, headers } = await ask(name, token, host);
      const what = `${name} at ${host}`;
      t.not(status, 200, what);
      if (token === bot.token && host === HOST)
        t.equal(headers['x-sallyport-error'], 'integrity_failed', what);
    }
  }
  t.equal(upstream.received.length, 0, 'nothing is sent');
}

/** The answer to the request, or to the CONNECT before it. */
async function ask(name: string, token: string, host: string): Promise<Answer> {
  const agent = { name, token, ca: bot.ca };
  const { answer, socket } = await connect(sallyport.proxy, `${host}:443`, basic(agent));
  socket.destroy();
  if (answer.status !== 200) return answer;
  const tunnel = await AgentTunnel.open(sallyport.proxy, agent, host);
  try {
    return await tunnel.request('/');
  } finally {
    tunnel.close();
  }
}

async function served(t: Test): Promise<void> {
  upstream.forget();
  const tunnel = await AgentTunnel.open(sallyport.proxy, bot, HOST);
  t.equal((await tunnel.request('/')).status, 200);
  tunnel.close();
  t.same(valuesOf(upstream.last, 'authorization'), ['Bearer third'], 'with the newest value');
}

/** What happened before: two credentials, three versions of one, a grant that was taken back. */
async function history(): Promise<Seen> {
  const token = Buffer.from(bot.token);
  const otherToken = Buffer.from(mallory.token);
  const current = await scene.setCredential('acme', 'first', { agents: ['bot'] });
  const firstVersion = row('SELECT * FROM credential_versions WHERE credential = ?', current);
  const firstCredential = row('SELECT * FROM credentials WHERE id = ?', current);
  const olderFile = `${database}.older`;
  keep(olderFile);
  await scene.setCredential('acme', 'second');
  await scene.setCredential('acme', 'third');
  const spare = await scene.setCredential('acme', 'spare', { label: 'spare' });
  await sallyport.cli(['grant', 'add', 'mallory', 'acme', '--label', 'spare']);
  const removedGrant = row('SELECT * FROM grants WHERE credential = ?', spare);
  await sallyport.cli(['grant', 'remove', 'mallory', 'acme']);
  return { token, otherToken, current, spare, olderFile, firstVersion, firstCredential, removedGrant };
}

function row(text: string, key: string): Seen['firstVersion'] {
  return sql(database, (db) => db.prepare<string[], Seen['firstVersion']>(text).get(key) ?? {});
}

function tamper(change: (db: SQLite.Database) => unknown): void {
  const db = new SQLite(database, { timeout: 5_000 });
  try {
    db.pragma('foreign_keys = OFF');
    db.transaction(() => change(db))();
  } finally {
    db.close();
  }
}

/** A copy of the whole database as it is now. */
function keep(file: string): void {
  const db = new SQLite(database);
  db.prepare('VACUUM INTO ?').run(file);
  db.close();
}

/** Makes every row as it is in `file`. */
function replaceAll(db: SQLite.Database, file: string): void {
  const from = new SQLite(file, { readonly: true });
  for (const table of TABLES) {
    db.exec(`DELETE FROM ${table}`);
    for (const row of from.prepare<[], Record<string, unknown>>(`SELECT * FROM ${table}`).all()) {
      const columns = Object.keys(row);
      const values = columns.map(() => '?');
      db.prepare(`INSERT INTO ${table} (${columns}) VALUES (${values})`).run(...Object.values(row));
    }
  }
  from.close();
}
