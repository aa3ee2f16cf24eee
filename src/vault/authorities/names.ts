import { isIP, isIPv4, isIPv6 } from 'node:net';
import { type Node, sequence, tagged } from './der.ts';

/** GeneralName tags (RFC 5280, 4.2.1.6). */
const DNS_NAME = 2;
const IP_ADDRESS = 7;

/** A reserved name (RFC 6761), a documentation address (RFC 5737) and a discard-only one (RFC 6666). */
const NOWHERE = { name: 'none.invalid', ipv4: '192.0.2.0', ipv6: '100::' } as const;

/** A host as the one name of a leaf: dNSName, or iPAddress with its 4 or 16 bytes. */
export function generalName(host: string): Node {
  const address = addressBytes(host);
  return address ? tagged(IP_ADDRESS, address) : tagged(DNS_NAME, Buffer.from(host, 'latin1'));
}

/**
 * NameConstraints (RFC 5280, 4.2.1.10) that permit the hosts of these patterns: "api.x" and "*.x" become the subtrees
 * api.x and x, wider than the pattern (api.x takes in a.api.x): the issuer itself holds to the pattern.
 *
 * A kind of name without any constraint would be free, so each is always bound, where nothing of it is granted by a
 * name or address that leads nowhere. Without any address granted, all are excluded; with one, the others are not
 * permitted: excluding the other family too would make Java 17 fail on every address (it compares the two), and
 * leaving it out would leave it free in GnuTLS. IPv4 stands first, for Java stops at the match.
 */
export function nameConstraints(patterns: readonly string[]): Node {
  const hosts = [...new Set(patterns.map((pattern) => pattern.replace(/^\*+\./, '')))];
  const names = widest(hosts.filter((host) => !isIP(host)));
  const permitted = orElse(names, NOWHERE.name).map(generalName);
  if (!hosts.some(isIP)) {
    return sequence(subtrees(0, permitted), subtrees(1, [everyAddress(4), everyAddress(16)]));
  }
  const addresses = [
    ...orElse(hosts.filter(isIPv4), NOWHERE.ipv4),
    ...orElse(hosts.filter(isIPv6), NOWHERE.ipv6),
  ];
  return sequence(subtrees(0, [...permitted, ...addresses.map(exactly)]));
}

function orElse(granted: readonly string[], nowhere: string): readonly string[] {
  return granted.length > 0 ? granted : [nowhere];
}

function subtrees(tag: number, bases: readonly Node[]): Node {
  return tagged(
    tag,
    bases.map((base) => sequence(base)),
  );
}

/** Without names that lie under another: what is permitted stays the same, and the certificate small. */
function widest(names: readonly string[]): string[] {
  const known = new Set(names);
  return names.filter((name) => {
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
      if (known.has(name.slice(dot + 1))) return false;
    }
    return true;
  });
}

function exactly(host: string): Node {
  const address = addressBytes(host) ?? Buffer.alloc(0);
  return tagged(IP_ADDRESS, Buffer.concat([address, Buffer.alloc(address.length, 0xff)]));
}

function everyAddress(length: 4 | 16): Node {
  return tagged(IP_ADDRESS, Buffer.alloc(length * 2));
}

/** The bytes of a canonical IP literal, null for a name. */
function addressBytes(host: string): Buffer | null {
  if (isIPv4(host)) return Buffer.from(host.split('.').map(Number));
  if (!isIPv6(host)) return null;
  const [before = '', after] = host.split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  const gap = Array<string>(8 - head.length - tail.length).fill('0');
  const bytes = Buffer.alloc(16);
  for (const [i, group] of [...head, ...gap, ...tail].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), i * 2);
  }
  return bytes;
}
