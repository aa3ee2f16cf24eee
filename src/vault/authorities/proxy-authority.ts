import { SallyportError } from '../../errors.ts';
import type { AuthoritiesTable } from '../../store/schema.ts';
import { type Changes, UNSIGNED } from '../changes.ts';
import { rootKeyBinding } from '../credentials/binding.ts';
import { openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import { signWith } from './certificate.ts';
import { Issuer } from './issuer.ts';
import { createProxyRoot } from './root.ts';

const ID = 'proxy';

/**
 * The authority of the proxy's own TLS listener. The handshake comes before anybody has said which agent's it is, so
 * that no agent's authority could sign there: this one stands beside each agent's own in its CA file.
 */
export class ProxyAuthority {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #names: readonly string[];
  #issuer: Issuer | undefined;

  /** `names`: the hosts and addresses, canonical, by which agents reach the listener; none: there is no listener. */
  constructor(policy: Policy, changes: Changes, keyholder: KeyholderClient, names: readonly string[]) {
    this.#policy = policy;
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#names = names;
  }

  /** Makes the authority where the store has none: at the first start. Throws what a change does. */
  async ensure(): Promise<void> {
    if (this.#policy.state.authority(ID)) return;
    await this.#changes.apply('authority.add', ID, async (state) => {
      if (state.authority(ID)) return { rows: [], result: undefined };
      const { certificate, privateKey } = createProxyRoot();
      try {
        const { sealed, dek, kek } = await sealEnvelope(
          this.#keyholder,
          rootKeyBinding(ID, certificate),
          privateKey,
        );
        const row: AuthoritiesTable = {
          ...UNSIGNED,
          id: ID,
          certificate,
          key_sealed: sealed,
          key_dek: dek,
          key_kek: kek,
          created_at: new Date().toISOString(),
          removed_at: null,
        };
        return { rows: [{ table: 'authorities', row }], result: undefined };
      } finally {
        privateKey.fill(0);
      }
    });
  }

  /**
   * A certificate of the listener for the public key `spki`, as a PEM chain; `notAfter` in milliseconds. Throws
   * policy_denied where there is no listener that needs one, and what Issuer.leaf throws.
   */
  async leaf(spki: Buffer): Promise<{ chainPem: Buffer; notAfter: number }> {
    if (this.#names.length === 0) {
      throw new SallyportError('policy_denied', 'No listener of this proxy needs a certificate of its own.');
    }
    await this.ensure();
    const row = this.#policy.state.authority(ID);
    if (!row) throw new SallyportError('vault_unavailable', 'The authority of the proxy is not made yet.');
    this.#issuer ??= new Issuer({
      root: {
        certificate: row.certificate,
        sign: (message) => this.#sign(this.#policy.state.authority(ID) ?? row, message),
      },
      hosts: this.#names,
    });
    return this.#issuer.leafOf(this.#names, spki);
  }

  async #sign(row: AuthoritiesTable, message: Buffer): Promise<Buffer> {
    const envelope = { sealed: row.key_sealed, dek: row.key_dek, kek: row.key_kek };
    const privateKey = await openEnvelope(this.#keyholder, rootKeyBinding(row.id, row.certificate), envelope);
    try {
      return signWith(privateKey, message);
    } finally {
      privateKey.fill(0);
    }
  }
}
