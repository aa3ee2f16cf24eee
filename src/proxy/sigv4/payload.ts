import { SallyportError } from '../../errors.ts';
import type { Scheme } from '../authority.ts';
import { findField } from '../http/find-field.ts';
import type { RequestHead } from '../http/message.ts';

/** SHA-256 of nothing. */
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const UNSIGNED = 'UNSIGNED-PAYLOAD';
/** The trailer carries a checksum, and no chunk a signature: nothing in the body is the signer's. */
const UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';

/**
 * What stands in a signature for the request's body. `hash`: as the agent said or as there is no other; `sent`: whether
 * the agent sent that in X-Amz-Content-Sha256 itself. `undefined`: the body has to be read to its end and hashed.
 */
export interface Payload {
  readonly hash: string | undefined;
  readonly sent: boolean;
}

/** Throws injection_unsupported where the body's chunks are signed one by one, bad_request for what is no hash. */
export function payloadOf(head: RequestHead, service: string, scheme: Scheme): Payload {
  const at = findField(head.fields, 'x-amz-content-sha256');
  if (at >= 0) return { hash: stated(head, at, scheme), sent: true };
  const { framing } = head;
  if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0))
    return { hash: EMPTY, sent: false };
  // Objects may be of any size, and S3 takes TLS for enough.
  return { hash: service === 's3' && scheme === 'https' ? UNSIGNED : undefined, sent: false };
}

function stated(head: RequestHead, at: number, scheme: Scheme): string {
  const { bytes, offsets } = head.fields;
  const value = bytes.toString('latin1', offsets[4 * at + 2], offsets[4 * at + 3]);
  if (/^[0-9a-f]{64}$/i.test(value)) return value;
  if ((value === UNSIGNED || value === UNSIGNED_TRAILER) && scheme === 'https') return value;
  if (value.startsWith('STREAMING-')) {
    throw new SallyportError(
      'injection_unsupported',
      `The body's chunks are signed one by one (${value.slice(0, 60)}), which Sallyport cannot do anew: turn chunk signing off in the SDK (unsigned payload with a trailing checksum), or send the SHA-256 of the whole body.`,
    );
  }
  const why =
    'its X-Amz-Content-Sha256 is no SHA-256 of the body in hex, and UNSIGNED-PAYLOAD goes over TLS only';
  throw new SallyportError('bad_request', `The request was not signed, since ${why}.`);
}
