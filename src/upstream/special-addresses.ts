import { type AddressBytes, type Block, isWithin, parseBlock } from './address.ts';

/** A block that is not the public Internet, and what it is, for the refusal's sentence. */
interface Special {
  readonly block: Block;
  readonly what: string;
}

/** Never dialled, whatever is allowed: no upstream is there, or only what an agent must never reach. */
const NEVER = table([
  // Instance metadata and credential endpoints of cloud providers.
  ['169.254.169.254', 'a cloud metadata service'], // AWS, GCP, Azure, Oracle, DigitalOcean, OpenStack, ...
  ['169.254.169.253', 'a cloud metadata service'], // AWS, the resolver
  ['169.254.169.123', 'a cloud metadata service'], // AWS, time
  ['169.254.170.0/24', 'a cloud metadata service'], // AWS ECS (.2) and EKS (.23): a task's credentials
  ['169.254.0.23', 'a cloud metadata service'], // Tencent
  ['169.254.42.42', 'a cloud metadata service'], // Scaleway
  ['100.100.100.200', 'a cloud metadata service'], // Alibaba
  ['168.63.129.16', 'a cloud metadata service'], // Azure, a public address
  ['192.0.0.192', 'a cloud metadata service'], // Oracle Classic
  ['fd00:ec2::/32', 'a cloud metadata service'], // AWS (::254, ::23, ::253, ::123)
  ['fd20:ce::254', 'a cloud metadata service'], // GCP
  ['fd00:c1::a9fe:a9fe', 'a cloud metadata service'], // Oracle
  ['fd00:42::42', 'a cloud metadata service'], // Scaleway
  ['fe80::a9fe:a9fe', 'a cloud metadata service'], // OpenStack
  // A connection to these reaches this machine, many machines, or whatever a translator makes of it.
  ['0.0.0.0/8', 'the unspecified address'],
  ['::', 'the unspecified address'],
  ['224.0.0.0/4', 'multicast'],
  ['255.255.255.255', 'broadcast'],
  ['ff00::/8', 'multicast'],
  // RFC 8215: where in it the IPv4 address lies is the local network's choice, so it cannot be looked at.
  ['64:ff9b:1::/48', 'local-use NAT64'],
]);

/** Refused unless the operator allows them (IANA's special-purpose registries). */
const PRIVATE = table([
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'carrier-grade NAT'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved for protocols'],
  ['192.0.2.0/24', 'documentation'],
  ['192.88.99.0/24', 'the retired 6to4 relay'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'benchmarking'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['240.0.0.0/4', 'reserved'],
  ['::1', 'loopback'],
  ['fc00::/7', 'private'],
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'site-local'],
  ['100::/63', 'discard-only'],
  ['2001::/23', 'reserved for protocols'],
  ['2001:db8::/32', 'documentation'],
  ['3fff::/20', 'documentation'],
  ['5f00::/16', 'segment routing'],
]);

/** The only part of IPv6 that is the public Internet; the rest is refused even where no table names it. */
const GLOBAL_UNICAST = block('2000::/3');

/** An IPv6 form that leads to an IPv4 address, and where that lies. */
interface Wrapper {
  readonly block: Block;
  readonly what: string;
  /** Offsets of embedded IPv4 addresses; `inverted` ones are stored as their complement. */
  readonly embedded: readonly { readonly offset: number; readonly inverted?: boolean }[];
}

const WRAPPERS: readonly Wrapper[] = [
  { block: block('::ffff:0:0/96'), what: 'IPv4-mapped', embedded: [{ offset: 12 }] },
  { block: block('::ffff:0:0:0/96'), what: 'IPv4-translated', embedded: [{ offset: 12 }] },
  { block: block('64:ff9b::/96'), what: 'NAT64', embedded: [{ offset: 12 }] },
  { block: block('2002::/16'), what: '6to4', embedded: [{ offset: 2 }] },
  // RFC 4380: the server's address, and the client's with its bits inverted.
  { block: block('2001::/32'), what: 'Teredo', embedded: [{ offset: 4 }, { offset: 12, inverted: true }] },
  // After the mapped form and behind the check for :: and ::1, which are no IPv4 addresses.
  { block: block('::/96'), what: 'IPv4-compatible', embedded: [{ offset: 12 }] },
];

/** What the address is where it is never dialled, else undefined. */
export function neverDialled(address: AddressBytes): string | undefined {
  return find(NEVER, address);
}

/** What the address is where only an allowance opens it, else undefined: it is on the public Internet. */
export function notPublic(address: AddressBytes): string | undefined {
  const what = find(PRIVATE, address);
  if (what !== undefined || address.length === 4) return what;
  return isWithin(GLOBAL_UNICAST, address) ? undefined : 'reserved';
}

/** The IPv4 addresses that an IPv6 address leads to, and the form's name; undefined where it is a plain address. */
export function unwrap(
  address: AddressBytes,
): { readonly what: string; readonly embedded: readonly AddressBytes[] } | undefined {
  if (address.length === 4 || isLoopback(address)) return undefined;
  const wrapper = WRAPPERS.find((candidate) => isWithin(candidate.block, address));
  if (wrapper) {
    const embedded = wrapper.embedded.map(({ offset, inverted }) =>
      address.slice(offset, offset + 4).map((byte) => (inverted ? byte ^ 0xff : byte)),
    );
    return { what: wrapper.what, embedded };
  }
  // RFC 5214: ISATAP's interface identifier, under any prefix.
  if (((address[8] ?? 0) & 0xfd) === 0 && address[9] === 0 && address[10] === 0x5e && address[11] === 0xfe) {
    return { what: 'ISATAP', embedded: [address.slice(12)] };
  }
  return undefined;
}

function isLoopback(address: AddressBytes): boolean {
  return address[15] === 1 && address.subarray(0, 15).every((byte) => byte === 0);
}

function find(specials: readonly Special[], address: AddressBytes): string | undefined {
  return specials.find((special) => isWithin(special.block, address))?.what;
}

function table(rows: readonly (readonly [string, string])[]): readonly Special[] {
  return rows.map(([cidr, what]) => ({ block: block(cidr), what }));
}

function block(cidr: string): Block {
  const parsed = parseBlock(cidr);
  if (!parsed) throw new TypeError(`${cidr} is not a CIDR block`);
  return parsed;
}
