import { randomBytes, X509Certificate } from 'node:crypto';
import { toPem } from '../../../certs/pem.ts';
import { ISSUING, LEAF, PREDECESSOR } from '../../../certs/profiles.ts';
import { canonicalHost, hostMatches } from '../../catalog/host.ts';
import { SallyportError } from '../../errors.ts';
import { certify, certifyBy, commonName, emptyName, type Sign } from './certificate.ts';
import { children, decode, type Node } from './der.ts';
import { generateKeyPair } from './key-pair.ts';
import { generalName, nameConstraints } from './names.ts';
import { readPublicKey } from './public-key.ts';

/** A root's certificate in DER, and what signs with its key. */
export interface SigningRoot {
  readonly certificate: Buffer;
  readonly sign: Sign;
}

export interface IssuerParts {
  readonly root: SigningRoot;
  /** The root that is to take the place of `root`: while there is one, the chain serves clients that trust either. */
  readonly successor?: SigningRoot | undefined;
  /** Patterns of the hosts that the agent's grants cover, canonical ("api.x", "*.x", "**.x", an address). */
  readonly hosts: readonly string[];
  /** Milliseconds; for tests of what time does. */
  readonly now?: () => number;
}

/** What of a root stands in what it signs. */
interface Anchor {
  readonly subject: Node;
  readonly point: Buffer;
  /** Milliseconds. */
  readonly notAfter: number;
}

/** An issuing authority while it is in use. */
interface Issuing {
  /** Its certificate and, where there is a successor, that of the root from the successor. */
  readonly chainPem: string;
  readonly subject: Node;
  readonly privateKey: Buffer;
  readonly point: Buffer;
  readonly notAfter: number;
  /** From here on a new one is made: half of its life is left for what it has signed. */
  readonly renewAt: number;
}

/**
 * Makes an agent's leaves. Its issuing authority is born here, signed by the agent's root for the agent's hosts alone,
 * and its key never leaves the vault's memory. When the agent's grants change, the vault closes this issuer and makes
 * another: the constraints are those of the grants.
 */
export class Issuer {
  readonly #parts: IssuerParts;
  readonly #now: () => number;
  readonly #root: Anchor;
  readonly #successor: Anchor | undefined;
  #issuing: Issuing | undefined;
  #pending: Promise<Issuing> | undefined;
  #closed = false;

  /** Throws where `root` is no certificate of ours. */
  constructor(parts: IssuerParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
    this.#root = anchorOf(parts.root);
    this.#successor = parts.successor && anchorOf(parts.successor);
  }

  /**
   * A leaf for `host` (a canonical name or address) and the public key `spki` (P-256 SubjectPublicKeyInfo, DER), as
   * a PEM chain of leaf and issuing authority (and, while a root is being replaced, of the old root under the new one);
   * `notAfter` in milliseconds. Throws policy_denied where the agent's
   * grants do not cover the host or its root has expired, bad_request for another kind of key, vault_unavailable
   * once closed.
   */
  leaf(host: string, spki: Buffer): Promise<{ chainPem: Buffer; notAfter: number }> {
    return this.leafOf([host], spki);
  }

  /** The same for several hosts at once. */
  async leafOf(hosts: readonly string[], spki: Buffer): Promise<{ chainPem: Buffer; notAfter: number }> {
    if (!hosts.every((host) => this.#covers(host))) {
      throw new SallyportError(
        'policy_denied',
        'No grant of this agent covers the host: no certificate is made.',
      );
    }
    const point = Buffer.from(readPublicKey(spki)); // a copy: the caller's buffer is not ours after the await
    const issuing = await this.#current();
    if (issuing !== this.#issuing) throw closed(); // closed while we waited: its key is wiped
    const now = this.#now();
    const { der, notAfter } = certify(
      {
        profile: LEAF,
        subject: emptyName(),
        issuer: issuing.subject,
        point,
        issuerPoint: issuing.point,
        now,
        notAfter: issuing.notAfter,
        names: hosts.map(generalName),
      },
      issuing.privateKey,
    );
    return { chainPem: Buffer.from(toPem(der) + issuing.chainPem, 'latin1'), notAfter };
  }

  #covers(host: string): boolean {
    return canonicalHost(host) === host && this.#parts.hosts.some((pattern) => hostMatches(pattern, host));
  }

  /** Wipes the issuing key. No leaf is made from here on; those made are valid until they end. */
  close(): void {
    this.#closed = true;
    this.#issuing?.privateKey.fill(0);
    this.#issuing = undefined;
  }

  /** The issuing authority in its first half; made once, however many ask at once. */
  #current(): Promise<Issuing> {
    if (this.#closed) return Promise.reject(closed());
    if (this.#issuing && this.#now() < this.#issuing.renewAt) return Promise.resolve(this.#issuing);
    this.#pending ??= this.#renew().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #renew(): Promise<Issuing> {
    const { privateKey, point } = generateKeyPair();
    try {
      const now = this.#now();
      if (now >= this.#root.notAfter) throw expired(this.#root.notAfter);
      const subject = commonName(`Sallyport issuing ${randomBytes(4).toString('hex')}`);
      const constraints = nameConstraints(this.#parts.hosts);
      const { der, notAfter } = await certifyBy(
        {
          profile: ISSUING,
          subject,
          issuer: this.#root.subject,
          point,
          issuerPoint: this.#root.point,
          now,
          notAfter: this.#root.notAfter,
          constraints,
        },
        this.#parts.root.sign,
      );
      const chainPem = toPem(der) + (await this.#predecessor(now, constraints));
      if (this.#closed) throw closed();
      this.#issuing?.privateKey.fill(0);
      const renewAt = now + (notAfter - now) / 2;
      this.#issuing = { chainPem, subject, privateKey, point, notAfter, renewAt };
      return this.#issuing;
    } catch (error) {
      privateKey.fill(0);
      throw error;
    }
  }

  /**
   * PEM of the root's own key under its successor, confined like the issuing authority; empty without a successor. A
   * client that trusts the old root stops at it, and one that trusts the new root alone goes on to that.
   */
  async #predecessor(now: number, constraints: Node): Promise<string> {
    const { successor } = this.#parts;
    if (!successor || !this.#successor) return '';
    const { der } = await certifyBy(
      {
        profile: PREDECESSOR,
        subject: this.#root.subject,
        issuer: this.#successor.subject,
        point: this.#root.point,
        issuerPoint: this.#successor.point,
        now,
        notAfter: Math.min(this.#root.notAfter, this.#successor.notAfter),
        constraints,
      },
      successor.sign,
    );
    return toPem(der);
  }
}

function anchorOf({ certificate }: SigningRoot): Anchor {
  const { publicKey, validTo } = new X509Certificate(certificate);
  return {
    subject: subjectOf(certificate),
    point: readPublicKey(publicKey.export({ type: 'spki', format: 'der' })),
    notAfter: Date.parse(validTo),
  };
}

/** The subject within a certificate, as it was encoded. */
function subjectOf(certificate: Buffer): Node {
  const [, , , , , subject] = children(children(decode(certificate))[0]);
  if (subject === undefined) throw new TypeError('the root is no X.509 v3 certificate');
  return subject;
}

function closed(): SallyportError {
  return new SallyportError(
    'vault_unavailable',
    "The agent's grants have changed: ask again for the certificate.",
  );
}

function expired(notAfter: number): SallyportError {
  const day = new Date(notAfter).toISOString().slice(0, 10);
  return new SallyportError(
    'policy_denied',
    `The agent's certificate authority expired on ${day}: run \`sallyport agent rotate-ca NAME\` and install its new CA.`,
  );
}
