import type { Handle } from 'pkcs11js';
import { SallyportError } from '../../errors.ts';
import type { Cryptoki } from '../cryptoki.ts';
import type { Naming } from '../generate.ts';
import { bind, unbind } from './binding.ts';
import type { Kek, Profile } from './profile.ts';

/** One way to encrypt to a pair whose private half is in the token and decrypts there. */
export interface PublicKeyWay {
  readonly name: string;
  readonly format: number;
  readonly summary: string;
  /** Mechanisms that the token must list. */
  readonly mechanisms: readonly number[];
  /** Makes the pair; gives its private and its public half. */
  generate(token: Cryptoki, naming: Naming): [privateKey: Handle, publicKey: Handle];
  /** Reads the public half, in the form that `seal` takes. */
  readPublicKey(token: Cryptoki, object: Handle): Buffer;
  seal(publicKey: Buffer, secret: Buffer, aad: Buffer): Buffer;
  /** Into memory of its own, which the caller wipes. Throws hsm_refused, and what the calls throw. */
  open(token: Cryptoki, key: Handle, publicKey: Buffer, sealed: Buffer, aad: Buffer): Buffer;
}

/**
 * The profile that wraps DEKs in that way, bound by HMAC: not every way takes an AAD, and anybody may encrypt to a public
 * key. Format (1) ‖ what `seal` gives ‖ HMAC (32).
 */
export function bound(way: PublicKeyWay): Profile {
  const { name, format, summary, mechanisms } = way;
  return {
    name,
    format,
    summary: `${summary}, bound by HMAC`,
    mechanisms: mechanisms.map((mechanism) => [mechanism]),
    kek: 'pair',
    binds: true,
    randomised: true,
    generate: way.generate,
    readPublicKey: way.readPublicKey,
    wrap: (token, kek, dek, aad) => bind(token, kek, format, way.seal(publicKeyOf(kek), dek, aad), aad),
    unwrap: (token, kek, wrapped, aad) =>
      way.open(token, kek.key, publicKeyOf(kek), unbind(token, kek, format, wrapped, aad), aad),
  };
}

function publicKeyOf({ label, publicKey }: Kek): Buffer {
  if (publicKey) return publicKey;
  throw new SallyportError(
    'hsm_key_missing',
    `The token has no public half of ${label}: restore it from a backup.`,
  );
}
