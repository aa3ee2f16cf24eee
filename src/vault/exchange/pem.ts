import { allocateSecret } from '../../secret-buffer.ts';
import { base64 } from './base64.ts';

const LINE = 64;
const LINE_FEED = 0x0a;

/** DER as PEM (RFC 7468) under `label`, as bytes of its own, which its owner wipes. */
export function pem(label: string, der: Uint8Array): Buffer {
  const digits = base64(der);
  const [begin, end] = [`-----BEGIN ${label}-----\n`, `-----END ${label}-----\n`];
  const lines = Math.ceil(digits.length / LINE);
  const out = allocateSecret(begin.length + digits.length + lines + end.length);
  let at = out.write(begin, 'latin1');
  for (let from = 0; from < digits.length; from += LINE) {
    at += digits.copy(out, at, from, from + LINE);
    out[at++] = LINE_FEED;
  }
  out.write(end, at, 'latin1');
  digits.fill(0);
  return out;
}
