import net from 'node:net';

/** An address as bytes in network order: 4 for IPv4, 16 for IPv6. */
export type AddressBytes = Uint8Array;

/** A CIDR block: the first `bits` bits of `bytes`. */
export interface Block {
  readonly bytes: AddressBytes;
  readonly bits: number;
}

/**
 * The bytes of an IP literal, undefined for anything else. `net.isIP` decides what is one (dotted IPv4 without leading
 * zeros, hexadecimal shorthands or fewer parts; RFC 4291 IPv6), so that nothing is read here in another way than by
 * the code that dials. A zone ("%eth0") is refused: it names an interface, not a host.
 */
export function parseAddress(text: string): AddressBytes | undefined {
  switch (net.isIP(text)) {
    case 4:
      return parseIPv4(text);
    case 6:
      return text.includes('%') ? undefined : parseIPv6(text);
    default:
      return undefined;
  }
}

/** Reads "ADDRESS/BITS", or a bare address as the block of itself alone; undefined where it is neither. */
export function parseBlock(text: string): Block | undefined {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const bytes = match?.[1] === undefined ? undefined : parseAddress(match[1]);
  if (!match || !bytes) return undefined;
  const bits = match[2] === undefined ? bytes.length * 8 : Number(match[2]);
  return bits <= bytes.length * 8 ? { bytes, bits } : undefined;
}

/** True where `address` is of the block's family and within it. */
export function isWithin(block: Block, address: AddressBytes): boolean {
  if (block.bytes.length !== address.length) return false;
  const whole = block.bits >> 3;
  for (let i = 0; i < whole; i++) if (block.bytes[i] !== address[i]) return false;
  const rest = block.bits & 7;
  if (rest === 0) return true;
  const difference = (block.bytes[whole] ?? 0) ^ (address[whole] ?? 0);
  return difference >> (8 - rest) === 0;
}

/** True where both are the same address of the same family. */
export function isSameAddress(a: AddressBytes, b: AddressBytes): boolean {
  return isWithin({ bytes: a, bits: a.length * 8 }, b);
}

function parseIPv4(text: string): AddressBytes {
  return Uint8Array.from(text.split('.'), Number);
}

function parseIPv6(text: string): AddressBytes {
  const bytes = new Uint8Array(16);
  const [head = '', tail] = text.split('::');
  const front = parseGroups(head);
  bytes.set(front, 0);
  if (tail !== undefined) {
    const back = parseGroups(tail);
    bytes.set(back, 16 - back.length);
  }
  return bytes;
}

/** The bytes of colon-separated groups, the last of which may be a dotted IPv4 address. */
function parseGroups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return [...parseIPv4(group)];
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
