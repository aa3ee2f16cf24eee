import { createHmac } from 'node:crypto';

/**
 * HPKE (RFC 9180) in base mode, single shot, in one suite: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 * A browser does the same with WebCrypto (ECDH, HMAC, AES-GCM). Here it stands on bytes: WebCrypto and KeyObject
 * keep copies that nothing wipes.
 */
export const POINT_BYTES = 65;
export const SHARED_BYTES = 32;
export const TAG_BYTES = 16;
/** Larger than any credential (a service account's key file has 3 KiB), small enough to refuse floods early. */
export const MAX_PLAINTEXT = 64 * 1024;

const KEM_SUITE = Buffer.from('KEM\x00\x10', 'latin1');
const HPKE_SUITE = Buffer.from('HPKE\x00\x10\x00\x01\x00\x02', 'latin1');
const BASE_MODE = Buffer.from([0]);
const EMPTY = Buffer.alloc(0);

/** Key (32 bytes) and nonce (12 bytes) of one sealed box. Whoever derives them wipes them. */
export interface BoxKey {
  readonly key: Buffer;
  readonly nonce: Buffer;
}

/**
 * The key of the box that `enc` announces: ExtractAndExpand (RFC 9180, 4.1), then KeySchedule (5.1) with sequence
 * number 0. `sharedX` is the x coordinate of the ECDH point (32 bytes); `enc` and `intakePublicKey` are uncompressed
 * points (65 bytes).
 */
export function deriveBoxKey(sharedX: Buffer, enc: Buffer, intakePublicKey: Buffer, info: Buffer): BoxKey {
  const kemContext = Buffer.concat([enc, intakePublicKey]);
  const extracted = extract(KEM_SUITE, EMPTY, 'eae_prk', sharedX);
  const shared = expand(KEM_SUITE, extracted, 'shared_secret', kemContext, 32);
  extracted.fill(0);
  const context = Buffer.concat([
    BASE_MODE,
    extract(HPKE_SUITE, EMPTY, 'psk_id_hash', EMPTY),
    extract(HPKE_SUITE, EMPTY, 'info_hash', info),
  ]);
  const secret = extract(HPKE_SUITE, shared, 'secret', EMPTY);
  shared.fill(0);
  const key = expand(HPKE_SUITE, secret, 'key', context, 32);
  const nonce = expand(HPKE_SUITE, secret, 'base_nonce', context, 12);
  secret.fill(0);
  return { key, nonce };
}

/** LabeledExtract (RFC 9180, 4). */
function extract(suite: Buffer, salt: Buffer, label: string, material: Buffer): Buffer {
  return createHmac('sha256', salt).update('HPKE-v1').update(suite).update(label).update(material).digest();
}

/** LabeledExpand (RFC 9180, 4) for at most one block of SHA-256, which is all that this suite asks for. */
function expand(suite: Buffer, key: Buffer, label: string, info: Buffer, length: number): Buffer {
  const hmac = createHmac('sha256', key)
    .update(Buffer.from([0, length]))
    .update('HPKE-v1')
    .update(suite);
  const block = hmac
    .update(label)
    .update(info)
    .update(Buffer.from([1]))
    .digest();
  block.fill(0, length);
  return block.subarray(0, length);
}
