import { X509Certificate } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import type { AuthoritiesTable } from '../../store/schema.ts';
import { type Changes, UNSIGNED } from '../changes.ts';
import { rootKeyBinding } from '../credentials/binding.ts';
import { openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import { signWith } from './certificate.ts';
import { Issuer, type SigningRoot } from './issuer.ts';
import { createProxyRoot } from './root.ts';

const FIRST = 'proxy';
const DAY_MS = 24 * 60 * 60 * 1000;
/** A root is followed by the next this long before it ends: time for agents on other machines to fetch it. */
const OVERLAP_MS = 180 * DAY_MS;

/**
 * The authority of the proxy's own TLS listener. The handshake comes before anybody has said which agent's it is, so
 * that no agent's authority could sign there: this one stands beside each agent's own in its CA file. Before its root
 * ends it gets the next one; until then it serves clients that have either.
 */
export class ProxyAuthority {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #names: readonly string[];
  #issuer: { readonly roots: string; readonly issuer: Issuer } | undefined;

  /** `names`: the hosts and addresses, canonical, by which agents reach the listener; none: there is no listener. */
  constructor(policy: Policy, changes: Changes, keyholder: KeyholderClient, names: readonly string[]) {
    this.#policy = policy;
    this.#changes = changes;
    this.#keyholder = keyholder;
    this.#names = names;
  }

  /** Makes what the store lacks, the first root or the next, and drops what has ended. Throws what a change does. */
  async ensure(): Promise<void> {
    const before = this.#policy.state.authorities();
    if (isInOrder(before)) return;
    const action = before.length === 0 ? 'authority.add' : 'authority.renew';
    await this.#changes.apply(action, FIRST, async (state) => {
      const rows = state.authorities();
      if (isInOrder(rows)) return { rows: [], result: undefined };
      const ended = rows.filter((row) => endOf(row) <= Date.now()).map(withoutKey);
      const next = needsNext(rows) ? [await this.#create(numberOf(rows.at(-1)) + 1)] : [];
      return {
        rows: [...ended, ...next].map((row) => ({ table: 'authorities' as const, row })),
        shreds: ended.length > 0 ? 'soon' : undefined,
        result: undefined,
        detail: { made: next.map(({ id }) => id).join(' '), ended: ended.map(({ id }) => id).join(' ') },
      };
    });
  }

  async #create(number: number): Promise<AuthoritiesTable> {
    const id = number === 1 ? FIRST : `${FIRST}-${number}`;
    const { certificate, privateKey } = createProxyRoot(number);
    try {
      const binding = rootKeyBinding(id, certificate);
      const { sealed, dek, kek } = await sealEnvelope(this.#keyholder, binding, privateKey);
      const created_at = new Date().toISOString();
      const key = { key_sealed: sealed, key_dek: dek, key_kek: kek };
      return { ...UNSIGNED, id, certificate, ...key, created_at, removed_at: null };
    } finally {
      privateKey.fill(0);
    }
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
    return this.#current().leafOf(this.#names, spki);
  }

  /** The issuer under the roots as they are now. */
  #current(): Issuer {
    const [root, successor] = inTheirTime(this.#policy.state.authorities());
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

  #signing(row: AuthoritiesTable): SigningRoot {
    const newest = (): AuthoritiesTable => this.#policy.state.authority(row.id) ?? row; // its key may be wrapped anew
    return { certificate: row.certificate, sign: (message) => this.#sign(newest(), message) };
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

/** The row of a root that has ended. */
function withoutKey(row: AuthoritiesTable): AuthoritiesTable {
  const none = { key_sealed: Buffer.alloc(0), key_dek: Buffer.alloc(0), key_kek: '' };
  return { ...row, ...none, removed_at: new Date().toISOString() };
}

function isInOrder(rows: readonly AuthoritiesTable[]): boolean {
  return !needsNext(rows) && inTheirTime(rows).length === rows.length;
}

/** Whether the newest root is about to end, or there is none. */
function needsNext(rows: readonly AuthoritiesTable[]): boolean {
  return !rows.some((row) => endOf(row) - OVERLAP_MS > Date.now());
}

function inTheirTime(rows: readonly AuthoritiesTable[]): AuthoritiesTable[] {
  return rows.filter((row) => endOf(row) > Date.now());
}

function endOf({ certificate }: AuthoritiesTable): number {
  return new X509Certificate(certificate).validToDate.getTime();
}

/** Which root it is, in the order in which they were made; 0 for none. */
function numberOf(row: AuthoritiesTable | undefined): number {
  return row ? Number(row.id.slice(FIRST.length + 1) || 1) : 0;
}
