import { Buffer } from 'node:buffer';
import { subtle } from 'node:crypto';

/**
 * HPKE's base mode as a page would do it, on WebCrypto alone and written apart from src/sealing: HKDF by hand over
 * HMAC, ECDH, AES-GCM. The oracle for both directions.
 */
type Bytes = Uint8Array<ArrayBuffer>;

const own = (bytes: Uint8Array): Bytes => new Uint8Array(bytes);
const text = (value: string): Bytes => new TextEncoder().encode(value);
const join = (...parts: Uint8Array[]): Bytes => own(Buffer.concat(parts));

async function hmac(key: Bytes, data: Bytes): Promise<Bytes> {
  // WebCrypto imports no empty key; RFC 5869 reads an absent salt as HashLen zeros.
  const raw = key.length === 0 ? new Uint8Array(32) : key;
  const imported = await subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, data));
}

const labeledExtract = (suite: Bytes, salt: Bytes, label: string, ikm: Bytes): Promise<Bytes> =>
  hmac(salt, join(text('HPKE-v1'), suite, text(label), ikm));

async function labeledExpand(
  suite: Bytes,
  prk: Bytes,
  label: string,
  info: Bytes,
  length: number,
): Promise<Bytes> {
  const labeled = join(
    own(Buffer.from([length >> 8, length & 255])),
    text('HPKE-v1'),
    suite,
    text(label),
    info,
  );
  return (await hmac(prk, join(labeled, Uint8Array.of(1)))).slice(0, length);
}

async function boxKey(dh: Bytes, enc: Bytes, pk: Bytes, info: Bytes) {
  const kem = join(text('KEM'), Uint8Array.of(0, 16));
  const hpke = join(text('HPKE'), Uint8Array.of(0, 16, 0, 1, 0, 2));
  const none = new Uint8Array(0);
  const prk = await labeledExtract(kem, none, 'eae_prk', dh);
  const shared = await labeledExpand(kem, prk, 'shared_secret', join(enc, pk), 32);
  const context = join(
    Uint8Array.of(0),
    await labeledExtract(hpke, none, 'psk_id_hash', none),
    await labeledExtract(hpke, none, 'info_hash', info),
  );
  const secret = await labeledExtract(hpke, shared, 'secret', none);
  const raw = await labeledExpand(hpke, secret, 'key', context, 32);
  const key = await subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']);
  return { key, iv: await labeledExpand(hpke, secret, 'base_nonce', context, 12) };
}

const curve = { name: 'ECDH', namedCurve: 'P-256' } as const;

export async function browserSeal(point: Buffer, info: Buffer, aad: Buffer, plaintext: Buffer) {
  const pair = await subtle.generateKey(curve, true, ['deriveBits']);
  const enc = new Uint8Array(await subtle.exportKey('raw', pair.publicKey));
  const theirs = await subtle.importKey('raw', own(point), curve, false, []);
  const dh = new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: theirs }, pair.privateKey, 256));
  const { key, iv } = await boxKey(dh, enc, own(point), own(info));
  const sealed = await subtle.encrypt({ name: 'AES-GCM', iv, additionalData: own(aad) }, key, own(plaintext));
  return { enc: Buffer.from(enc), ciphertext: Buffer.from(sealed) };
}

export async function browserOpen(
  secret: Buffer,
  point: Buffer,
  box: { enc: Buffer; ciphertext: Buffer },
  info: Buffer,
  aad: Buffer,
): Promise<Buffer> {
  const x = point.subarray(1, 33).toString('base64url');
  const y = point.subarray(33).toString('base64url');
  const jwk = { kty: 'EC', crv: 'P-256', x, y, d: secret.toString('base64url') };
  const mine = await subtle.importKey('jwk', jwk, curve, false, ['deriveBits']);
  const theirs = await subtle.importKey('raw', own(box.enc), curve, false, []);
  const dh = new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: theirs }, mine, 256));
  const { key, iv } = await boxKey(dh, own(box.enc), own(point), own(info));
  const opened = await subtle.decrypt(
    { name: 'AES-GCM', iv, additionalData: own(aad) },
    key,
    own(box.ciphertext),
  );
  return Buffer.from(opened);
}
