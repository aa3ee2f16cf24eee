import { createSign, randomBytes } from 'node:crypto';
import { BACKDATE_MS, type Profile } from '../../../certs/profiles.ts';
import {
  bits,
  boolean,
  encode,
  type Node,
  octets,
  oid,
  sequence,
  set,
  tagged,
  time,
  unsigned,
  utf8,
} from './der.ts';
import { keyIdentifier, publicKeyInfo } from './public-key.ts';

const ECDSA_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';
const EXTENDED_KEY_USAGE = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;
const EXTENSION = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
} as const;
/** Bits of KeyUsage within its first byte (RFC 5280, 4.2.1.3). */
const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;

export interface CertificateParts {
  readonly profile: Profile;
  /** An empty one makes the alternative name critical (RFC 5280, 4.2.1.6). */
  readonly subject: Node;
  readonly issuer: Node;
  /** The subject's uncompressed point. */
  readonly point: Buffer;
  /** The issuer's uncompressed point; its own for a root. */
  readonly issuerPoint: Buffer;
  /** When it is made, in milliseconds. */
  readonly now: number;
  /** It ends with the profile's lifetime, or here if that is earlier: none outlives its issuer. */
  readonly notAfter: number;
  /** NameConstraints of an authority, or the GeneralNames of a leaf. */
  readonly constraints?: Node;
  readonly names?: readonly Node[];
}

export interface Certificate {
  readonly der: Buffer;
  /** Milliseconds. */
  readonly notAfter: number;
}

/** ECDSA with SHA-256 over what it is given, by a P-256 key that lies elsewhere; answers the signature in DER. */
export type Sign = (message: Buffer) => Promise<Buffer>;

/** Builds a certificate (RFC 5280, 4.1) and signs it with `issuerKey`, a P-256 key in PKCS#8 DER. */
export function certify(parts: CertificateParts, issuerKey: Buffer): Certificate {
  const draft = drafted(parts);
  return signed(draft, signWith(issuerKey, draft.bytes));
}

/** The same with a key that only signs. Throws what `sign` throws. */
export async function certifyBy(parts: CertificateParts, sign: Sign): Promise<Certificate> {
  const draft = drafted(parts);
  return signed(draft, await sign(draft.bytes));
}

/**
 * What `Sign` does, with a key in PKCS#8 DER. By a Sign object, which has let go of the key when it has signed: crypto.sign
 * holds its parsed form, reversed, until the next collection of garbage (measured).
 */
export function signWith(key: Buffer, message: Buffer): Buffer {
  return createSign('sha256').update(message).sign({ key, format: 'der', type: 'pkcs8' });
}

/** A certificate before it is signed. */
interface Draft {
  readonly tbs: Node;
  readonly bytes: Buffer;
  readonly algorithm: Node;
  readonly notAfter: number;
}

function drafted(parts: CertificateParts): Draft {
  const { profile, subject, issuer, point, now } = parts;
  const notBefore = wholeSecond(now - BACKDATE_MS);
  // Both ends are included, so a lifetime of a day ends a second before the day is over.
  const notAfter = Math.min(notBefore + profile.lifetimeMs - 1000, wholeSecond(parts.notAfter));
  const algorithm = sequence(oid(ECDSA_SHA256));
  const tbs = sequence(
    tagged(0, [unsigned(Buffer.from([2]))]), // version 3
    unsigned(randomBytes(16)),
    algorithm,
    issuer,
    sequence(time(new Date(notBefore)), time(new Date(notAfter))),
    subject,
    publicKeyInfo(point),
    tagged(3, [sequence(...extensions(parts))]),
  );
  return { tbs, bytes: encode(tbs), algorithm, notAfter };
}

function signed({ tbs, algorithm, notAfter }: Draft, signature: Buffer): Certificate {
  return { der: encode(sequence(tbs, algorithm, bits(signature))), notAfter };
}

/** A distinguished name of one common name. */
export function commonName(text: string): Node {
  return sequence(set(sequence(oid(COMMON_NAME), utf8(text))));
}

export function emptyName(): Node {
  return sequence();
}

function extensions({ profile, point, issuerPoint, constraints, names }: CertificateParts): Node[] {
  const { pathLength, extendedKeyUsage } = profile;
  const list: Node[] = [];
  if (pathLength !== null) {
    const value = sequence(boolean(true), unsigned(Buffer.from([pathLength])));
    list.push(extension(EXTENSION.basicConstraints, true, value));
  }
  list.push(extension(EXTENSION.keyUsage, true, keyUsage(profile)));
  if (extendedKeyUsage !== null) {
    const usage = sequence(oid(EXTENDED_KEY_USAGE[extendedKeyUsage]));
    list.push(extension(EXTENSION.extKeyUsage, false, usage));
  }
  if (constraints) list.push(extension(EXTENSION.nameConstraints, true, constraints));
  if (names) list.push(extension(EXTENSION.subjectAltName, true, sequence(...names)));
  list.push(extension(EXTENSION.subjectKeyIdentifier, false, octets(keyIdentifier(point))));
  const authority = sequence(tagged(0, keyIdentifier(issuerPoint)));
  list.push(extension(EXTENSION.authorityKeyIdentifier, false, authority));
  return list;
}

function extension(id: string, critical: boolean, value: Node): Node {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(encode(value)));
}

/** A named BIT STRING leaves its trailing zero bits out (X.690, 11.2.2). */
function keyUsage({ keyUsage: usages }: Profile): Node {
  const byte = usages.reduce((sum, usage) => sum | KEY_USAGE[usage], 0);
  return bits(Buffer.from([byte]), 31 - Math.clz32(byte & -byte));
}

function wholeSecond(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
