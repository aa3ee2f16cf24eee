import { Buffer } from 'node:buffer';
import forge from 'node-forge';

/**
 * The few DER types that a certificate needs (X.690), over node-forge's encoder. forge works on binary strings, which
 * is fine here: certificates are public. Private keys never come this way.
 */
export type Node = forge.asn1.Asn1;

const { asn1 } = forge;

export function sequence(...items: Node[]): Node {
  return constructed(asn1.Type.SEQUENCE, items);
}

export function set(...items: Node[]): Node {
  return constructed(asn1.Type.SET, items);
}

export function oid(value: string): Node {
  return primitive(asn1.Type.OID, asn1.oidToDer(value).getBytes());
}

export function boolean(value: boolean): Node {
  return primitive(asn1.Type.BOOLEAN, value ? '\xff' : '\x00');
}

/** A non-negative INTEGER from its big-endian bytes, in as few as it takes. */
export function unsigned(bytes: Uint8Array): Node {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start === -1 ? Buffer.alloc(1) : Buffer.from(bytes.subarray(start));
  const sign = (digits[0] ?? 0) & 0x80 ? '\x00' : '';
  return primitive(asn1.Type.INTEGER, sign + digits.toString('latin1'));
}

export function octets(bytes: Uint8Array): Node {
  return primitive(asn1.Type.OCTETSTRING, binary(bytes));
}

/** A BIT STRING of whole bytes, or one that leaves `unused` bits of the last byte out. */
export function bits(bytes: Uint8Array, unused = 0): Node {
  return primitive(asn1.Type.BITSTRING, String.fromCharCode(unused) + binary(bytes));
}

export function utf8(text: string): Node {
  return primitive(asn1.Type.UTF8, forge.util.encodeUtf8(text));
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280, 4.1.2.5). */
export function time(date: Date): Node {
  const digits = `${date
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replaceAll(/[-:T]/g, '')}Z`;
  if (date.getUTCFullYear() > 2049) return primitive(asn1.Type.GENERALIZEDTIME, digits);
  return primitive(asn1.Type.UTCTIME, digits.slice(2));
}

export function nothing(): Node {
  return primitive(asn1.Type.NULL, '');
}

/** A context-specific tag: around `content` where it holds nodes, over plain bytes where it is implicit. */
export function tagged(tag: number, content: Node[] | Uint8Array): Node {
  const isNodes = Array.isArray(content);
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, isNodes, isNodes ? content : binary(content));
}

/** An ECDSA signature (RFC 3279, 2.2.3) from r‖s, as PKCS#11 gives it. */
export function ecdsaSignature(rs: Buffer): Buffer {
  const half = rs.length / 2;
  return encode(sequence(unsigned(rs.subarray(0, half)), unsigned(rs.subarray(half))));
}

export function encode(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}

/** Reads DER. Throws forge's error on anything malformed or left over. */
export function decode(der: Buffer): Node {
  return asn1.fromDer(der.toString('latin1'), true);
}

/** The nodes within a constructed node; throws where it is a primitive one. */
export function children(node: Node | undefined): Node[] {
  if (node === undefined || typeof node.value === 'string') throw new TypeError('a SEQUENCE was expected');
  return node.value;
}

function constructed(type: forge.asn1.Type, items: Node[]): Node {
  return asn1.create(asn1.Class.UNIVERSAL, type, true, items);
}

function primitive(type: forge.asn1.Type, content: string): Node {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, content);
}

function binary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
