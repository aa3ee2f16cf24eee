import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { createToken } from '../../src/keyholder/create-token.ts';
import { describe } from '../../src/keyholder/cryptoki.ts';
import type { Kek, Profile } from '../../src/keyholder/profiles/profile.ts';
import { PROFILES, profileNamed } from '../../src/keyholder/profiles/registry.ts';
import { loadModule, type OpenToken, openToken } from '../../src/keyholder/token.ts';
import { type Ground, onTrial } from '../../src/keyholder/trial.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { makeSoftHsm, useHere } from '../support/softhsm.ts';
import { withDescriptor } from './descriptor.ts';

const shim = makeShim();
const hsm = makeSoftHsm('profiles');
useHere(hsm);
const module = loadModule(shim.module);
withDescriptor(hsm.pinFile, (pin) => createToken(module, hsm.label, pin));
t.teardown(() => {
  hsm.remove();
  shim.remove();
});

/** What the shim is told so that the token can do each profile; all but the first and last are beyond SoftHSM. */
const ABILITIES: readonly (readonly [name: string, readonly string[]])[] = [
  ['aes-gcm', []],
  ['aes-gcm-hsm-iv', ['emulate hsm-iv']],
  ['cloudhsm-gcm', ['emulate cloudhsm']],
  ['aes-ccm', ['emulate ccm']],
  ['yubihsm-ccm', ['emulate yubihsm']],
  ['aes-kwp', []],
  ['aes-kwp', ['emulate kwp-encrypt']],
  ['rsa-oaep-sha256', ['emulate oaep-sha256']],
  ['ecdh-hpke', []],
  ['rsa-oaep-sha1', []],
];

function onToken<T>(directives: readonly string[], use: (token: OpenToken) => T): T {
  shim.control(...directives);
  const place = { module: shim.module, token: hsm.label, serial: undefined };
  const token = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
  try {
    return use(token);
  } finally {
    token.close();
    shim.control();
  }
}

/** Stored, where the token (a YubiHSM 2) has no session keys. */
function groundOf({ name }: Profile): Ground {
  return { stored: name === 'yubihsm-ccm', hmac: true };
}

function refused(attempt: () => Buffer): boolean {
  try {
    attempt();
    return false;
  } catch (caught) {
    const error = describe(caught);
    // SoftHSM says CKR_GENERAL_ERROR to a wrong AAD: the connection tells that from a dead device.
    return error instanceof SallyportError && ['hsm_refused', 'hsm_unavailable'].includes(error.code);
  }
}

t.test('every profile has its own format byte and name', async (t) => {
  t.equal(new Set(PROFILES.map(({ format }) => format)).size, PROFILES.length);
  t.equal(new Set(PROFILES.map(({ name }) => name)).size, PROFILES.length);
  t.same(
    new Set(ABILITIES.map(([name]) => profileNamed(name))),
    new Set(PROFILES),
    'and all are tested here',
  );
});

for (const [name, directives] of ABILITIES) {
  const profile = profileNamed(name);
  t.test(
    `${profile.name} ${directives.join()}: a key of any length opens under its own AAD and no other`,
    async (t) => {
      onToken(directives, (token) =>
        onTrial(token, profile, groundOf(profile), (kek) => {
          fc.assert(
            fc.property(
              fc.uint8Array({ minLength: 1, maxLength: 64 }),
              fc.uint8Array({ maxLength: 300 }),
              fc.uint8Array({ maxLength: 300 }),
              (bytes, first, second) => {
                const [dek, right, other] = [bytes, first, second].map((part) => Buffer.from(part)) as [
                  Buffer,
                  Buffer,
                  Buffer,
                ];
                const wrapped = profile.wrap(token, kek, dek, right);
                return (
                  wrapped[0] === profile.format &&
                  wrapped.indexOf(dek.length > 8 ? dek : 'never') < 0 &&
                  profile.unwrap(token, kek, wrapped, right).equals(dek) &&
                  (other.equals(right) || refused(() => profile.unwrap(token, kek, wrapped, other)))
                );
              },
            ),
            { numRuns: 20 },
          );
          everyChangeRefused(t, token, profile, kek);
        }),
      );
    },
  );
}

function everyChangeRefused(t: Test, token: OpenToken, profile: Profile, kek: Kek): void {
  const aad = Buffer.from('credential 7, version 2');
  const wrapped = profile.wrap(token, kek, randomBytes(32), aad);
  const opened: number[] = [];
  for (let at = 0; at < wrapped.length; at += 1) {
    const changed = Buffer.from(wrapped);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    if (!refused(() => profile.unwrap(token, kek, changed, aad))) opened.push(at);
    if (!refused(() => profile.unwrap(token, kek, wrapped.subarray(0, at), aad))) opened.push(-at);
  }
  t.same(opened, [], 'no changed byte and no missing tail goes unnoticed');
  t.ok(refused(() => profile.unwrap(token, kek, Buffer.concat([wrapped, aad]), aad)));
}
