import { spawnSync } from 'node:child_process';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pkcs11 from 'pkcs11js';
import t, { type Test } from 'tap';
import { kekId, kekLabel } from '../../src/keyholder/keks.ts';
import { aesGcm } from '../../src/keyholder/profiles/aes-gcm.ts';
import { boundAad } from '../../src/keyholder/profiles/wrapped.ts';
import { loadModule, openToken } from '../../src/keyholder/token.ts';
import { readNames } from '../../src/store/columns.ts';
import { openReadOnly } from '../../src/store/open.ts';
import { readPolicy } from '../../src/store/read.ts';
import { credentialBinding, rootKeyBinding } from '../../src/vault/credentials/binding.ts';
import { decrypt } from '../../src/vault/credentials/envelope.ts';
import { withDescriptor } from '../keyholder/descriptor.ts';
import { AgentTunnel } from '../support/agent.ts';
import { Control } from '../support/control.ts';
import { countInCore, countInMemory } from '../support/process-memory.ts';
import { startScene } from '../support/scene.ts';
import { tokenOf, useHere } from '../support/softhsm.ts';

/*
 * Where keys are after work, in every process, in its memory and in what a core of it would hold: the KEK, which this test
 * has put into the token so as to know it; the PIN; the DEK of a credential and the private keys of the agents' authorities
 * and the listener's, which the test unwraps with it for itself. With CORES=1 debuggers' cores are made and searched too: some 10 GB each, of which
 * nearly all is empty.
 */
t.setTimeout(process.env.CORES === undefined ? 170_000 : 900_000);
const REQUESTS = 300;
const credential = `marker-${randomBytes(24).toString('hex')}`;
const kek = randomBytes(32);
const scene = await startScene({ flags: ['--workers', '1', '--proxy-tls-listen', '127.0.0.1:0'] });
let { sallyport } = scene;
const { data, pinFile } = sallyport;
t.teardown(async () => {
  await sallyport.stop();
  await scene.remove();
});
const bot = await scene.addAgent('bot');
const id = await scene.setCredential('bearer', credential, { agents: ['bot'] });
await scene.setCredential('keyed', 'no-marker', { agents: ['bot'] });
await sallyport.stop();
const hsm = tokenOf(data, pinFile);
importKek();
sallyport = await sallyport.restart();
const control = new Control(data);
t.teardown(() => control.close());
await sallyport.cli(['hsm', 'rotate']);
await scene.addAgent('late'); // whose authority this very vault has made
await sallyport.cli(['authority', 'rotate']); // and the listener's second one
const { dek, scalars } = await unwrapped();

const NEEDLES: Readonly<Record<string, readonly Buffer[]>> = {
  KEK: halves(kek),
  PIN: [Buffer.from(hsm.pin, 'latin1'), Buffer.from(hsm.pin, 'utf16le')],
  DEK: halves(dek),
  // OpenSSL keeps numbers with the least byte first.
  'authority keys': scalars.flatMap((scalar) => [
    ...halves(scalar),
    ...halves(Buffer.from(scalar).reverse()),
  ]),
};

const all = Object.values(NEEDLES).flat();

t.test('the scan finds what is there, and a core is what may be dumped of it', async (t) => {
  const ofMemory = found(countInMemory(process.pid, all));
  const ofCore = found(countInCore(process.pid, all));
  for (const what of Object.keys(NEEDLES)) {
    t.ok((ofMemory.get(what)?.[0] ?? 0) > 0, `this test holds the ${what} itself`);
    t.ok((ofCore.get(what)?.[0] ?? 0) > 0, 'and so would a core of it');
  }
});

t.test('after requests, leaves, changes and a rotation no process holds a key', async (t) => {
  await requests('bearer.test', REQUESTS);
  await control.setCredential('keyed', 'key', 'another');
  await requests('keyed.test', 20);
  await sallyport.cli(['hsm', 'rotate']); // what was wrapped with the known one was opened once more
  await nothingHeld(t);
  const worker = (await processes()).find(({ kind }) => kind === 'worker');
  const [hot = -1] = countInCore(worker?.pid ?? 0, [Buffer.from(credential)]);
  t.ok(
    hot <= 4,
    `a core of the worker in use holds the hot credential ${hot} times at most: outside its arena`,
  );
});

t.test('a credential that is gone is in no process 1,000 requests later', async (t) => {
  await sallyport.cli(['credential', 'remove', id]);
  await requests('keyed.test', 1_000);
  await nothingHeld(t, [Buffer.from(credential, 'latin1'), Buffer.from(credential, 'utf16le')]);
});

t.test('the kernel makes no core of any', async (t) => {
  for (const { name, pid } of await processes()) {
    t.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /^Max core file size +0 +0 /m, name);
  }
});

t.test('debuggers’ cores hold none', { skip: process.env.CORES === undefined }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-cores-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const { name, kind, pid } of await processes()) {
    const { status, stderr } = spawnSync('gcore', ['-o', join(folder, 'core'), String(pid)], {
      encoding: 'utf8',
    });
    if (kind === 'worker' && status !== 0) {
      t.match(
        sallyport.stderr(),
        new RegExp(`killing ${name}`),
        'stopped for so long it is ended before there is a core',
      );
      continue;
    }
    t.equal(status, 0, stderr);
    const core = join(folder, `core.${pid}`);
    for (const [what, needles] of Object.entries({ ...NEEDLES, credential: [Buffer.from(credential)] })) {
      const found = countInFile(core, needles);
      const most = kind === 'keyholder' && what === 'PIN' ? 1 : 0;
      t.ok(found <= most, `${name}: ${found} of ${what}`);
    }
    rmSync(core);
  }
});

/**
 * The PIN alone may be in the keyholder, once: the string that pkcs11js takes, until it is overwritten. `gone`: what must be
 * nowhere either. What is not in a process's memory is in no core of it.
 */
async function nothingHeld(t: Test, gone: readonly Buffer[] = []): Promise<void> {
  const running = await processes();
  t.same(running.map(({ kind }) => kind).sort(), ['keyholder', 'supervisor', 'vault', 'worker']);
  for (const { name, kind, pid } of running) {
    const counts = countInMemory(pid, [...all, ...gone]);
    for (const [what, of] of found(counts)) {
      const most = kind === 'keyholder' && what === 'PIN' ? 1 : 0;
      t.ok(Math.max(...of) <= most, `${name}: ${of} of ${what}`);
    }
    t.same(
      counts.slice(all.length),
      gone.map(() => 0),
      `${name}: the credential`,
    );
  }
}

/** What was counted of `all`, by what it is. */
function found(counts: readonly number[]): Map<string, readonly number[]> {
  let at = 0;
  return new Map(
    Object.entries(NEEDLES).map(([what, { length }]) => {
      const of = counts.slice(at, at + length);
      at += length;
      return [what, of] as const;
    }),
  );
}

async function processes(): Promise<{ name: string; kind: string; pid: number }[]> {
  const status = await sallyport.json(['status']);
  return Object(status).processes;
}

async function requests(host: string, count: number): Promise<void> {
  const tunnels = await Promise.all([1, 2].map(() => AgentTunnel.open(sallyport.proxy, bot, host)));
  for (let sent = 0; sent < count; sent += tunnels.length) {
    const answers = await Promise.all(tunnels.map((tunnel) => tunnel.request('/')));
    for (const { status } of answers) if (status !== 200) throw new Error(`${status}`);
  }
  for (const tunnel of tunnels) tunnel.close();
}

/** Whole, and each half: freed memory loses its first bytes to the allocator. */
function halves(secret: Buffer): Buffer[] {
  const middle = secret.length / 2;
  return [secret, secret.subarray(0, middle), secret.subarray(middle)];
}

/** Puts the known KEK into the token as its second version: a rotation then takes it for the newest. */
function importKek(): void {
  useHere(hsm);
  const module = loadModule(hsm.module);
  const place = { module: hsm.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(pinFile, (pin) => openToken(module, place, pin));
  const is = (type: number, value: number | boolean | string | Buffer) => ({ type, value });
  token.lib.C_CreateObject(token.session, [
    is(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
    is(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
    is(pkcs11.CKA_VALUE, kek),
    is(pkcs11.CKA_LABEL, kekLabel(2)),
    is(pkcs11.CKA_ID, kekId(aesGcm, 2)),
    ...[pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_SENSITIVE].map((type) => is(type, true)),
    ...[pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT].map((type) => is(type, true)),
    is(pkcs11.CKA_EXTRACTABLE, false),
  ]);
  token.close();
}

/** The credential's DEK and the private scalars of all authorities: what the known KEK has wrapped opens with it. */
async function unwrapped(): Promise<{ dek: Buffer; scalars: Buffer[] }> {
  const store = await openReadOnly(join(data, 'vault', 'sallyport.db'));
  const rows = await readPolicy(store.db);
  store.close();
  const version = rows.credential_versions.find((row) => row.credential === id);
  const owner = rows.credentials.find((row) => row.id === id);
  const service = rows.services.find((row) => row.id === 'bearer');
  if (!version?.dek || !owner || !service) throw new Error('the credential is missing');
  const open = (wrapped: Buffer, binding: Buffer): Buffer =>
    decrypt(kek, boundAad(aesGcm.format, binding), wrapped.subarray(1));
  const binding = credentialBinding(service, owner, version.version, readNames(version.secret_fields));
  const roots = [
    ...rows.agents.map((agent) => ({
      id: agent.id,
      certificate: agent.root_certificate,
      dek: agent.root_key_dek,
      sealed: agent.root_key_sealed,
    })),
    ...rows.authorities.map(({ id, certificate, key_dek, key_sealed }) => ({
      id,
      certificate,
      dek: key_dek,
      sealed: key_sealed,
    })),
  ];
  const scalars = roots.map(({ id, certificate, dek, sealed }) => {
    if (!dek || !certificate || !sealed) throw new Error(`${id} has no authority`);
    const rootBinding = rootKeyBinding(id, certificate);
    const pkcs8 = decrypt(open(dek, rootBinding), rootBinding, sealed);
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    return Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  });
  return { dek: open(version.dek, binding), scalars };
}

function countInFile(path: string, needles: readonly Buffer[]): number {
  const file = openSync(path, 'r');
  const chunk = Buffer.allocUnsafe(64 * 1024 * 1024);
  const overlap = Math.max(...needles.map(({ length }) => length)) - 1;
  let found = 0;
  for (let at = 0; ; ) {
    const read = readSync(file, chunk, 0, chunk.length, at);
    for (const needle of needles) if (chunk.subarray(0, read).includes(needle)) found++;
    if (read < chunk.length) break;
    at += read - overlap;
  }
  closeSync(file);
  return found;
}
