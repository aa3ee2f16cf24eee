import { createHmac } from 'node:crypto';
import type { SigningScope } from '../../channel/messages/worker.ts';
import { rinseSmallBlocks } from '../../sealing/rinse.ts';
import { allocateSecret, copySecret } from '../../secret-buffer.ts';

const PREFIX = Buffer.from('AWS4', 'latin1');

/**
 * The signing key of a scope from a secret access key, which the caller wipes, as the result
 * (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step 4).
 */
export function deriveSigningKey(secret: Buffer, scope: SigningScope): Buffer {
  const first = firstKey(secret);
  try {
    return fromDayKey(hmac(first, scope.day), scope);
  } finally {
    first.fill(0);
    rinseSmallBlocks();
  }
}

/** What the first HMAC of the derivation is keyed with. The caller wipes it. */
export function firstKey(secret: Buffer): Buffer {
  const first = allocateSecret(PREFIX.length + secret.length);
  PREFIX.copy(first);
  secret.copy(first, PREFIX.length);
  return first;
}

/** The same from the key of the day on, which is wiped. */
export function fromDayKey(dayKey: Buffer, { region, service }: SigningScope): Buffer {
  let key = dayKey;
  for (const text of [region, service, 'aws4_request']) {
    const next = hmac(key, text);
    key.fill(0);
    key = next;
  }
  return key;
}

function hmac(key: Buffer, text: string): Buffer {
  const digest = createHmac('sha256', key).update(text).digest();
  try {
    return copySecret(digest);
  } finally {
    digest.fill(0);
  }
}
