import { createPublicKey } from 'node:crypto';
import pkcs11, { type Handle, type Template } from 'pkcs11js';
import t from 'tap';
import { createToken } from '../../src/keyholder/create-token.ts';
import type { Kek, Profile } from '../../src/keyholder/profiles/profile.ts';
import { PROFILES } from '../../src/keyholder/profiles/registry.ts';
import { loadModule, type OpenToken, openToken } from '../../src/keyholder/token.ts';
import { makeShim } from '../support/pkcs11-shim.ts';
import { makeSoftHsm, useHere } from '../support/softhsm.ts';
import { withDescriptor } from './descriptor.ts';
import { AAD, BIND_KEY, DEK, EC_KEK, RSA_KEK, SECRET_KEK, WRAPPED } from './format-vectors.ts';

const shim = makeShim();
const hsm = makeSoftHsm('formats');
useHere(hsm);
const module = loadModule(shim.module);
withDescriptor(hsm.pinFile, (pin) => createToken(module, hsm.label, pin));
t.teardown(() => {
  hsm.remove();
  shim.remove();
});

const ABILITIES: Readonly<Record<string, string>> = {
  'cloudhsm-gcm': 'emulate cloudhsm',
  'aes-ccm': 'emulate ccm',
  'yubihsm-ccm': 'emulate yubihsm',
  'rsa-oaep-sha256': 'emulate oaep-sha256',
};

function imported({ lib, session }: OpenToken, template: Template): Handle {
  return lib.C_CreateObject(session, [{ type: pkcs11.CKA_TOKEN, value: false }, ...template]);
}

function secret(token: OpenToken, keyType: number, value: Buffer, may: readonly number[]): Handle {
  return imported(token, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: keyType },
    { type: pkcs11.CKA_VALUE, value },
    ...may.map((type) => ({ type, value: true })),
  ]);
}

function kekOf(token: OpenToken, profile: Profile): Kek {
  // A YubiHSM takes no generic secrets.
  const type = profile.name === 'yubihsm-ccm' ? pkcs11.CKK_SHA256_HMAC : pkcs11.CKK_GENERIC_SECRET;
  const bind = secret(token, type, BIND_KEY, [pkcs11.CKA_SIGN]);
  const common = { label: 'vector', bind: profile.binds ? { handle: bind, sealed: undefined } : undefined };
  if (profile.kek === 'secret') {
    const may = [pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP];
    return { ...common, key: secret(token, pkcs11.CKK_AES, SECRET_KEK, may), publicKey: undefined };
  }
  const head = { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY };
  if (profile.name === 'ecdh-hpke') {
    const key = imported(token, [
      head,
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
      { type: pkcs11.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') },
      { type: pkcs11.CKA_VALUE, value: EC_KEK.d },
      { type: pkcs11.CKA_DERIVE, value: true },
    ]);
    return { ...common, key, publicKey: EC_KEK.point };
  }
  const key = imported(token, [
    head,
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_MODULUS, value: RSA_KEK.n },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: RSA_KEK.e },
    { type: pkcs11.CKA_PRIVATE_EXPONENT, value: RSA_KEK.d },
    { type: pkcs11.CKA_PRIME_1, value: RSA_KEK.p },
    { type: pkcs11.CKA_PRIME_2, value: RSA_KEK.q },
    { type: pkcs11.CKA_EXPONENT_1, value: RSA_KEK.dp },
    { type: pkcs11.CKA_EXPONENT_2, value: RSA_KEK.dq },
    { type: pkcs11.CKA_COEFFICIENT, value: RSA_KEK.qi },
    { type: pkcs11.CKA_DECRYPT, value: true },
  ]);
  const jwk = { kty: 'RSA', n: RSA_KEK.n.toString('base64url'), e: RSA_KEK.e.toString('base64url') };
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  return { ...common, key, publicKey };
}

/** The bytes of `wrapped` of which it opens with another value. */
function opensAltered(wrapped: Buffer, open: (altered: Buffer) => Buffer): number[] {
  return [...wrapped.keys()].filter((at) => {
    const altered = Buffer.from(wrapped);
    altered.writeUInt8(altered.readUInt8(at) ^ (1 << (at % 8)), at);
    try {
      open(altered);
      return true;
    } catch {
      return false;
    }
  });
}

for (const profile of PROFILES) {
  t.test(
    `${profile.name} opens what was wrapped when its format was new, and wraps in that form`,
    async (t) => {
      shim.control(ABILITIES[profile.name] ?? '');
      const place = { module: shim.module, token: hsm.label, serial: undefined };
      const token = withDescriptor(hsm.pinFile, (pin) => openToken(module, place, pin));
      try {
        const kek = kekOf(token, profile);
        const wrapped = WRAPPED[profile.name] ?? Buffer.alloc(0);
        t.ok(profile.unwrap(token, kek, wrapped, AAD).equals(DEK));
        t.throws(() => profile.unwrap(token, kek, wrapped, Buffer.from('another')));
        t.same(
          opensAltered(wrapped, (altered) => profile.unwrap(token, kek, altered, AAD)),
          [],
          'no byte may change',
        );
        if (profile.name === 'aes-gcm-hsm-iv') shim.control('emulate hsm-iv');
        const again = profile.wrap(token, kek, DEK, AAD);
        t.equal(again.length, wrapped.length);
        t.equal(again.equals(wrapped), !profile.randomised);
        t.ok(profile.unwrap(token, kek, again, AAD).equals(DEK));
      } finally {
        token.close();
      }
    },
  );
}
