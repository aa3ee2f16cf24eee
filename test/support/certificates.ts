import crypto from 'node:crypto';
import net from 'node:net';
import { parseAddress } from '../../src/upstream/address.ts';

/** A certificate and its P-256 key, both PEM, made in a millisecond without a child process. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority: a root of its own. */
export interface CertificateAuthority extends Certificate {
  readonly name: string;
}

export interface Validity {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

export function makeCa(name = 'Test Authority', validity: Validity = {}): CertificateAuthority {
  const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const extensions = [
    extension('551d13', true, sequence(tag(0x01, Buffer.of(0xff)))), // basicConstraints: an authority
    extension('551d0f', true, tag(0x03, Buffer.of(1, 0x06))), // keyUsage: keyCertSign, cRLSign
    extension('551d0e', false, tag(0x04, keyId(pair.publicKey))),
  ];
  const cert = certificate(name, name, pair.publicKey, pair.privateKey, extensions, validity);
  return { name, cert, key: exportKey(pair.privateKey) };
}

/** A server's certificate for `hosts`, each a DNS name ("*.x" too) or an IP literal. */
export function makeServerCert(
  ca: CertificateAuthority,
  hosts: string | readonly string[],
  validity: Validity = {},
): Certificate {
  const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { cert: certify(ca, hosts, pair.publicKey, validity), key: exportKey(pair.privateKey) };
}

/** The same for a key of somebody else's. */
export function certify(
  ca: CertificateAuthority,
  hosts: string | readonly string[],
  key: crypto.KeyObject,
  validity: Validity = {},
): string {
  const names = [hosts].flat().map((host) => {
    const address = net.isIP(host) ? parseAddress(host) : undefined;
    return address ? tag(0x87, Buffer.from(address)) : tag(0x82, Buffer.from(host, 'latin1'));
  });
  const extensions = [
    extension('551d13', true, sequence()),
    extension('551d0f', true, tag(0x03, Buffer.of(7, 0x80))), // keyUsage: digitalSignature
    extension('551d25', false, sequence(oid('2b06010505070301'))), // extKeyUsage: serverAuth
    extension('551d11', false, sequence(...names)),
    extension('551d23', false, sequence(tag(0x80, keyId(crypto.createPublicKey(ca.cert))))),
  ];
  const issuer = crypto.createPrivateKey(ca.key);
  return certificate(ca.name, 'server', key, issuer, extensions, validity);
}

/** A client's certificate of that common name and its key, in one PEM text as owners enter it. */
export function makeClientPair(ca: CertificateAuthority, name: string, validity: Validity = {}): string {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const extensions = [
    extension('551d13', true, sequence()),
    extension('551d0f', true, tag(0x03, Buffer.of(7, 0x80))), // keyUsage: digitalSignature
    extension('551d25', false, sequence(oid('2b06010505070302'))), // extKeyUsage: clientAuth
  ];
  const issuer = crypto.createPrivateKey(ca.key);
  return exportKey(privateKey) + certificate(ca.name, name, publicKey, issuer, extensions, validity);
}

/** RFC 5280, 4.1, in DER, signed with ecdsa-with-SHA256. */
function certificate(
  issuer: string,
  subject: string,
  key: crypto.KeyObject,
  signer: crypto.KeyObject,
  extensions: readonly Buffer[],
  { notBefore = new Date(Date.now() - 60_000), notAfter = new Date(Date.now() + 86_400_000) }: Validity,
): string {
  const algorithm = sequence(oid('2a8648ce3d040302'));
  const serial = crypto.randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f); // positive, and not shortened
  const body = sequence(
    tag(0xa0, tag(0x02, Buffer.of(2))),
    tag(0x02, serial),
    algorithm,
    commonName(issuer),
    sequence(time(notBefore), time(notAfter)),
    commonName(subject),
    key.export({ type: 'spki', format: 'der' }),
    tag(0xa3, sequence(...extensions)),
  );
  const signature = crypto.sign('sha256', body, signer);
  const der = sequence(body, algorithm, tag(0x03, Buffer.of(0), signature));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function commonName(name: string): Buffer {
  return sequence(tag(0x31, sequence(oid('550403'), tag(0x0c, Buffer.from(name)))));
}

function time(date: Date): Buffer {
  const text = date
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '');
  return tag(0x17, Buffer.from(text.slice(2))); // UTCTime: until 2049
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [tag(0x01, Buffer.of(0xff))] : [];
  return sequence(oid(id), ...flag, tag(0x04, value));
}

function keyId(key: crypto.KeyObject): Buffer {
  return crypto
    .createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();
}

function oid(hex: string): Buffer {
  return tag(0x06, Buffer.from(hex, 'hex'));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tag(0x30, ...parts);
}

function tag(number: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.of(number, ...length), content]);
}

function exportKey(key: crypto.KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}
