import { SallyportError } from '../../errors.ts';
import type { AuthoritiesTable } from '../../store/schema.ts';
import type { Policy } from '../policy/policy.ts';
import { Issuer, type SigningRoot } from './issuer.ts';
import type { ProxyRoots } from './proxy-roots.ts';
import { hasEnded, proxyRows, storedRoot } from './proxy-row.ts';
import type { RootKeys } from './root-keys.ts';

/**
 * The authority of the proxy's own TLS listener. The handshake comes before anybody has said which agent's it is, so
 * that no agent's authority could sign there: this one stands beside each agent's own in its CA file. Before its root
 * ends it gets the next one, and on command; until the earlier one goes it serves clients that have either.
 */
export class ProxyAuthority {
  readonly #policy: Policy;
  readonly #roots: ProxyRoots;
  readonly #rootKeys: RootKeys;
  readonly #names: readonly string[];
  readonly #report: (error: unknown) => void;
  #issuer: { readonly roots: string; readonly issuer: Issuer } | undefined;

  /**
   * `names`: the hosts and addresses, canonical, by which agents reach the listener; none: there is no listener. `report`
   * says what goes wrong without a leaf being refused for it.
   */
  constructor(
    policy: Policy,
    roots: ProxyRoots,
    rootKeys: RootKeys,
    names: readonly string[],
    report: (error: unknown) => void,
  ) {
    this.#policy = policy;
    this.#roots = roots;
    this.#rootKeys = rootKeys;
    this.#names = names;
    this.#report = report;
  }

  /**
   * A certificate of the listener for the public key `spki`, as a PEM chain; `notAfter` in milliseconds. Throws
   * policy_denied where there is no listener that needs one, and what Issuer.leaf throws.
   */
  async leaf(spki: Buffer): Promise<{ chainPem: Buffer; notAfter: number }> {
    if (this.#names.length === 0) {
      throw new SallyportError('policy_denied', 'No listener of this proxy needs a certificate of its own.');
    }
    try {
      await this.#roots.ensure();
    } catch (error) {
      if (this.#inTheirTime().length === 0) throw error;
      this.#report(error); // an HSM that is full, say: there is half a year to see to it
    }
    return this.#current().leafOf(this.#names, spki);
  }

  /** The issuer under the roots as they are now. */
  #current(): Issuer {
    const [root, successor] = this.#inTheirTime();
    if (!root) throw new SallyportError('vault_unavailable', 'The authority of the proxy is not made yet.');
    const roots = `${root.id} ${successor?.id}`;
    if (this.#issuer?.roots === roots) return this.#issuer.issuer;
    this.#issuer?.issuer.close();
    const issuer = new Issuer({
      root: this.#signing(root),
      ...(successor && { successor: this.#signing(successor) }),
      hosts: this.#names,
    });
    this.#issuer = { roots, issuer };
    return issuer;
  }

  #inTheirTime(): AuthoritiesTable[] {
    return proxyRows(this.#policy.state).filter((row) => !hasEnded(row));
  }

  #signing(row: AuthoritiesTable): SigningRoot {
    return this.#rootKeys.signing(() => storedRoot(this.#policy.state.authority(row.id) ?? row));
  }
}
