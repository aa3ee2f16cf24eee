import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import graphene from 'graphene-pk11';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { Connection } from '../../src/keyholder/connection.ts';
import { mac, unwrap, wrap } from '../../src/keyholder/operations.ts';
import { login } from '../../src/keyholder/pin.ts';
import { loadModule, openToken, proveKeys, type Token } from '../../src/keyholder/token.ts';
import { makeToken, useHere } from '../support/softhsm.ts';
import { withDescriptor } from './descriptor.ts';

const { hsm } = makeToken();
useHere(hsm);
const module = loadModule(hsm.module);
const place = { module: hsm.module, token: hsm.label, serial: undefined };
let opened = 0;
function open(): Token {
  opened++;
  return proveKeys(withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin)));
}
const connection = new Connection(open);
connection.start();
t.teardown(() => {
  connection.close();
  hsm.remove();
});
const message = Buffer.from('message');

t.test('whatever is lost behind its back is opened again within the same call', async (t) => {
  const before = connection.use((token) => mac(token, [message]))[0];
  const losses: [string, (token: Token) => void][] = [
    ['the session', ({ lib, session }) => lib.C_CloseSession(session)],
    ['the login', ({ lib, session }) => lib.C_Logout(session)],
    ['the library', ({ lib }) => lib.C_Finalize()],
    ['an operation left open', ({ lib, session }) => lib.C_FindObjectsInit(session, [])],
  ];
  for (const [what, lose] of losses) {
    connection.use(lose);
    const count = opened;
    const after = connection.use((token) => mac(token, [message]))[0];
    t.ok(before && after?.equals(before), what);
    t.equal(opened, count + 1, `${what}: opened once`);
  }
});

t.test('a refusal opens nothing again', async (t) => {
  const { wrapped, kek } = connection.use((token) => wrap(token, randomBytes(32), message));
  const count = opened;
  for (let run = 0; run < 100; run++) {
    const attempt = () => connection.use((token) => unwrap(token, kek, wrapped, Buffer.from('other')));
    t.throws(attempt, { code: 'hsm_refused' });
  }
  t.equal(opened, count);
});

t.test('a token that stays lost fails fast, and is tried again after pauses that grow', async (t) => {
  let tries = 0;
  const lost = new Connection(() => {
    tries++;
    throw new Error('CKR_TOKEN_NOT_PRESENT:224');
  });
  const until = performance.now() + 1000;
  while (performance.now() < until) {
    t.throws(() => lost.use(() => 0), { code: 'hsm_unavailable', message: /CKR_TOKEN_NOT_PRESENT/ });
    await sleep(5);
  }
  t.ok(tries >= 3 && tries <= 5, `after 0, 100, 300 and 700 ms: ${tries}`);
});

t.test('a wrong PIN is final', async (t) => {
  let tries = 0;
  const wrong = new Connection(() => {
    tries++;
    throw new SallyportError('hsm_pin_wrong', 'Wrong.');
  });
  wrong.start();
  for (let run = 0; run < 5; run++) {
    t.throws(() => wrong.use(() => 0), { code: 'hsm_pin_wrong' });
    await sleep(60);
  }
  t.equal(tries, 1);
});

t.test('a login that stands already does not vouch for a PIN', async (t) => {
  const path = join(hsm.folder, 'wrong');
  writeFileSync(path, 'x'.repeat(32));
  const { lib, session: handle } = connection.use((token) => token);
  const session = new graphene.Session(handle, module.getSlots(0), lib);
  t.throws(() => withDescriptor(path, (pin) => login(session, pin)), { code: 'hsm_pin_wrong' });
  withDescriptor(hsm.pinFile, (pin) => login(session, pin));
});
