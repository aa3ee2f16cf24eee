import os from 'node:os';
import { SallyportError } from '../errors.ts';
import {
  type AddressBytes,
  type Block,
  isSameAddress,
  isWithin,
  parseAddress,
  parseBlock,
} from './address.ts';
import { neverDialled, notPublic, unwrap } from './special-addresses.ts';

export interface AddressGuardOptions {
  /** CIDR blocks, or single addresses, that may be dialled though they are not public. */
  readonly allow: readonly string[];
  /** Where we listen ourselves; `host` is an IP address, or a name, which is taken for every local address. */
  readonly ownListeners: readonly { readonly host: string; readonly port: number }[];
}

/**
 * Decides whether an address may be dialled for an agent: the public Internet, and what the operator allows. Own
 * listeners and metadata services stay refused under any allowance: the first would let an agent speak to the vault
 * from inside, the second hand out the machine's own credentials.
 */
export class AddressGuard {
  readonly #allow: readonly Block[];
  readonly #own: readonly { readonly address: AddressBytes | undefined; readonly port: number }[];

  /** Throws `invalid_settings` where an allowance is no CIDR block. */
  constructor(options: AddressGuardOptions) {
    this.#allow = options.allow.map((cidr) => {
      const block = parseBlock(cidr);
      if (block) return block;
      throw new SallyportError(
        'invalid_settings',
        `"${cidr}" is not a CIDR block; write allowed upstream addresses like 10.0.0.0/8 or fd12::/48.`,
      );
    });
    this.#own = options.ownListeners.map(({ host, port }) => ({ address: listenerAddress(host), port }));
  }

  /** Returns where `address` (an IP literal, nothing else) may be dialled at `port`; throws `address_forbidden`. */
  check(address: string, port: number): void {
    const bytes = parseAddress(address);
    if (!bytes) throw forbidden(address, 'not an IP address', false);
    this.#checkBytes(bytes, port, address);
    const wrapped = unwrap(bytes);
    if (!wrapped) {
      const what = notPublic(bytes);
      if (what !== undefined && !this.#isAllowed(bytes)) throw forbidden(address, what, true);
      return;
    }
    // The address is what it leads to, and the disguise needs an allowance of its own.
    for (const inner of wrapped.embedded) {
      this.#checkBytes(inner, port, address);
      const what = notPublic(inner);
      if (what !== undefined && !this.#isAllowed(inner)) {
        throw forbidden(address, `${wrapped.what} for an address that is ${what}`, true);
      }
    }
    if (!this.#isAllowed(bytes) && !wrapped.embedded.every((inner) => this.#isAllowed(inner))) {
      throw forbidden(address, wrapped.what, true);
    }
  }

  /** Whether the operator allows `address` by name of its block: it is on a network of theirs. */
  allows(address: string): boolean {
    const bytes = parseAddress(address);
    return bytes !== undefined && this.#isAllowed(bytes);
  }

  /** What no allowance opens. `given` is the address as it was asked for. */
  #checkBytes(bytes: AddressBytes, port: number, given: string): void {
    const never = neverDialled(bytes);
    if (never !== undefined) throw forbidden(given, never, false);
    for (const own of this.#own) {
      if (own.port !== port) continue;
      if (own.address ? isSameAddress(own.address, bytes) : isLocal(bytes)) {
        throw forbidden(given, 'a listener of this proxy', false);
      }
    }
  }

  #isAllowed(bytes: AddressBytes): boolean {
    return this.#allow.some((block) => isWithin(block, bytes));
  }
}

/** The one address of a listener; undefined where it listens on all, or on a name that only its host resolves. */
function listenerAddress(host: string): AddressBytes | undefined {
  const bytes = parseAddress(host);
  if (!bytes || bytes.every((byte) => byte === 0)) return undefined;
  const mapped = unwrap(bytes);
  return mapped?.what === 'IPv4-mapped' ? mapped.embedded[0] : bytes;
}

const LOOPBACK: Block = { bytes: Uint8Array.of(127, 0, 0, 0), bits: 8 };

/** Asked anew each time, since interfaces come and go, and only where the port is one of ours. */
function isLocal(bytes: AddressBytes): boolean {
  if (isWithin(LOOPBACK, bytes)) return true;
  for (const addresses of Object.values(os.networkInterfaces())) {
    for (const { address } of addresses ?? []) {
      const local = parseAddress(address.replace(/%.*$/, ''));
      if (local && isSameAddress(local, bytes)) return true;
    }
  }
  return isSameAddress(bytes, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
}

function forbidden(address: string, what: string, allowable: boolean): SallyportError {
  const next = allowable
    ? 'Whoever runs the proxy can allow it with --upstream-allow.'
    : 'No setting allows it; use another address.';
  return new SallyportError('address_forbidden', `The address ${printable(address)} is ${what}. ${next}`);
}

/** What is no address may be anything: it is shown bounded and without control characters. */
function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\x21-\x7e]/g, '?');
}
