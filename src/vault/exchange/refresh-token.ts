import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import type { Changes } from '../changes.ts';
import { openVersion, sealVersion } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';

const FIELD = 'refresh_token';

/**
 * Stores the refresh token that a server gave in place of the one it was shown (RFC 6749, 6), before anything is done
 * with what came beside it: the old one may be dead already. It is the same version of the credential, sealed anew under
 * a DEK of its own: a new version would cut what is in flight, and push out the one to roll back to. Throws what `apply`
 * throws; credential_missing where that version was replaced or removed meanwhile. `refreshToken` stays the caller's.
 */
export function storeRefreshToken(
  changes: Changes,
  keyholder: KeyholderClient,
  of: { readonly credential: string; readonly version: number },
  refreshToken: Buffer,
): Promise<void> {
  return changes.apply('credential.refresh', of.credential, async (state) => {
    const credential = state.credential(of.credential);
    const row = state.version(of.credential, of.version);
    const service = credential && state.service(credential.service);
    if (!credential || !service || !row || credential.current_version !== of.version) {
      const message =
        'The credential was replaced or removed while its token was made: nothing of it is used.';
      throw new SallyportError('credential_missing', message);
    }
    const plaintext = await openVersion(keyholder, service, credential, row);
    try {
      const secrets = decodeFields(plaintext).map(({ name, value }) => ({
        name,
        value: name === FIELD ? refreshToken : value,
      }));
      const sealed = await sealVersion(keyholder, service, credential, secrets, row.created_at);
      return {
        rows: [{ table: 'credential_versions', row: sealed }],
        shreds: 'soon',
        result: undefined,
        detail: { service: service.id, version: of.version },
      };
    } finally {
      plaintext.fill(0);
    }
  });
}
