import type { Injection } from '../../channel/messages/policy.ts';
import { allocateSecret } from '../../secret-buffer.ts';
import { base64Length, writeBase64 } from './base64.ts';
import type { CredentialFields, Placement } from './kind.ts';
import { Template } from './template.ts';

const START = Buffer.from('Authorization: Basic ', 'latin1');
const COLON = Buffer.from(':', 'latin1');

/** `Authorization: Basic base64(username:password)` (RFC 7617). */
export function basic({ username, password }: Extract<Injection, { in: 'basic' }>): Placement {
  const user = new Template(username);
  const secret = new Template(password);
  const encodedLength = (fields: CredentialFields): number => {
    user.refuse(0x3a, 'a colon', fields); // RFC 7617, 2: it would move the border to the password
    return base64Length(user.length(fields) + 1 + secret.length(fields));
  };
  const writeEncoded = (out: Buffer, at: number, fields: CredentialFields): number =>
    writeBase64(out, at, [...user.pieces(fields), COLON, ...secret.pieces(fields)]);
  return {
    name: 'authorization',
    length: (fields) => START.length + encodedLength(fields) + 2,
    write: (out, at, fields) => {
      const end = writeEncoded(out, at + START.copy(out, at), fields);
      out[end] = 0x0d;
      out[end + 1] = 0x0a;
      return end + 2;
    },
    encoded: (fields) => {
      const out = allocateSecret(encodedLength(fields));
      const end = writeEncoded(out, 0, fields);
      const padding = out.indexOf(0x3d); // an echo may have left it out
      return out.subarray(0, padding < 0 ? end : padding);
    },
  };
}
