import { SallyportError } from '../../errors.ts';
import { decodeFields } from '../../sealing/fields.ts';
import { copySecret } from '../../secret-buffer.ts';
import type { Changes } from '../changes.ts';
import { openVersion, resealVersion } from '../credentials/versions.ts';
import type { KeyholderClient } from '../keyholder.ts';

const FIELD = 'refresh_token';

interface Pending {
  readonly of: Of;
  /** Until it is stored. */
  readonly token: Buffer;
}

/** A version of a credential. */
interface Of {
  readonly credential: string;
  readonly version: number;
}

/** The refresh tokens that servers give in place of those that they were shown (RFC 6749, 6). */
export class RefreshTokens {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #pending = new Map<string, Pending>();

  constructor(changes: Changes, keyholder: KeyholderClient) {
    this.#changes = changes;
    this.#keyholder = keyholder;
  }

  /**
   * Stores `token`, which stays the caller's, before anything is done with what came beside it: the one before may be
   * dead already. Where that fails it is held here until it can be stored, and nothing is exchanged before. Throws what
   * `apply` throws; credential_missing where that version was replaced or removed meanwhile.
   */
  async store(key: string, of: Of, token: Buffer): Promise<void> {
    this.#drop(key);
    this.#pending.set(key, { of, token: copySecret(token) });
    await this.storePending(key);
  }

  /** Stores what is still to be stored. Throws as `store`. */
  async storePending(key: string): Promise<void> {
    const pending = this.#pending.get(key);
    if (!pending) return;
    try {
      await storeRefreshToken(this.#changes, this.#keyholder, pending.of, pending.token);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'credential_missing') throw error;
      this.#drop(key);
      throw error;
    }
    this.#drop(key);
  }

  /** Forgets those of other credential versions. */
  keepOnly(current: ReadonlySet<string>): void {
    for (const key of [...this.#pending.keys()]) if (!current.has(key)) this.#drop(key);
  }

  #drop(key: string): void {
    this.#pending.get(key)?.token.fill(0);
    this.#pending.delete(key);
  }
}

/**
 * The same version of the credential, sealed anew under a DEK of its own: a new version would cut what is in flight, and
 * push out the one to roll back to.
 */
function storeRefreshToken(
  changes: Changes,
  keyholder: KeyholderClient,
  of: Of,
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
      const sealed = await resealVersion(keyholder, service, credential, secrets, row);
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
