import pkcs11 from 'pkcs11js';
import { SallyportError } from '../errors.ts';
import { type Cryptoki, readAttribute } from './cryptoki.ts';
import { search } from './find.ts';
import { LABEL } from './key-objects.ts';
import type { Keys } from './keys.ts';
import { pointOf } from './point.ts';

/** Public halves of an installation's keys (uncompressed points, hex): what its token is known by. */
export interface OwnKeys {
  readonly audit: string;
  readonly intake: string;
}

/**
 * Before the login: a token that shows the audit key of another installation is not tried with this one's PIN. One that
 * shows none is judged after it. Throws hsm_token_wrong, and what the calls throw.
 */
export function requireOwnShown(token: Cryptoki, serial: string, own: OwnKeys | undefined): void {
  if (!own) return;
  const shown = search(token, pkcs11.CKO_PUBLIC_KEY, LABEL.audit).map((object) =>
    pointOf(readAttribute(token, object, pkcs11.CKA_EC_POINT)).toString('hex'),
  );
  if (shown.length > 0 && !shown.includes(own.audit)) throw wrong(serial);
}

/** Before anything that the token says is believed. Throws hsm_token_wrong. */
export function requireOwn(keys: Keys, serial: string, own: OwnKeys | undefined): void {
  if (!own) return;
  const same =
    keys.auditPublic.toString('hex') === own.audit && keys.intakePublic.toString('hex') === own.intake;
  if (!same) throw wrong(serial);
}

function wrong(serial: string): SallyportError {
  return new SallyportError(
    'hsm_token_wrong',
    `The token with serial number ${serial} is not the one of this data folder, though it carries its label: it holds the keys of another installation. Put the right token back.`,
  );
}
