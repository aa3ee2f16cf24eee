import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import { SallyportError } from '../../errors.ts';
import { AGENT_TLS } from '../agent-tls.ts';
import type { VaultClient } from '../vault-client.ts';

/** Of a certificate's life, what has passed when the next one is asked for. */
const RENEWED_AT = 0.5;
const AGAIN_MS = 10_000;
/** The vault waits so long at most for a certificate of a changed authority: it takes a moment, with a slow HSM more. */
const FOLLOWED_MS = 1_000;

/** What the TLS listener shows of itself, before it is known which agent connects. */
export interface ListenerIdentity {
  /** Undefined while there is no certificate to show. */
  readonly context: tls.SecureContext | undefined;
}

/** A certificate that the operator has given, with its key (PEM). Throws invalid_settings where the two do not fit. */
export function givenIdentity(certificate: string, key: Buffer): ListenerIdentity {
  try {
    return { context: contextOf(certificate, key) };
  } catch (cause) {
    const message =
      'The certificate and key of --proxy-tls-cert and --proxy-tls-key cannot be used: give PEM files that belong together.';
    throw new SallyportError('invalid_settings', message, { cause });
  }
}

/** A certificate of the proxy's own authority, for a key that is made here and stays here; renewed in time. */
export class OwnIdentity implements ListenerIdentity {
  context: tls.SecureContext | undefined;
  readonly #vault: VaultClient;
  #authority: string;
  /** How often a certificate was asked for, and which of them is shown: an earlier one may come later. */
  #asked = 0;
  #shown = 0;
  #again: NodeJS.Timeout | undefined;

  /** `authority`: what it comes from, as a snapshot names it. */
  constructor(vault: VaultClient, authority: string) {
    this.#vault = vault;
    this.#authority = authority;
  }

  /** Where the authority is another than before: resolves once a certificate of that is shown, or after a second without. */
  async follow(authority: string): Promise<void> {
    if (authority === this.#authority) return;
    this.#authority = authority;
    await Promise.race([this.renew(), delay(FOLLOWED_MS, undefined, { ref: false })]);
  }

  /** Asks for a certificate, and goes on doing so. Resolves once the first answer is here, whatever it is. */
  async renew(): Promise<void> {
    const now = Date.now();
    const asked = ++this.#asked;
    let again = AGAIN_MS;
    try {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      const { chain, notAfter } = await this.#vault.listenerLeaf(spki);
      if (asked > this.#shown) {
        const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
        this.context = contextOf(chain, key);
        this.#shown = asked;
      }
      again = Math.max(AGAIN_MS, (notAfter - now) * RENEWED_AT);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      process.stderr.write(`sallyport: the TLS listener has no new certificate: ${why}\n`);
    }
    if (asked < this.#asked) return; // asked again meanwhile: that one says when the next is due
    clearTimeout(this.#again);
    this.#again = setTimeout(() => void this.renew(), again).unref();
  }
}

function contextOf(cert: string | Buffer, key: string | Buffer): tls.SecureContext {
  return tls.createSecureContext({ cert, key, ...AGENT_TLS, sessionIdContext: 'sallyport proxy' });
}
