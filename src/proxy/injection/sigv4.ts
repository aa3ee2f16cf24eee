import type { Signed } from '../sigv4/sign.ts';
import type { CompiledInjection } from './registry.ts';

/** Fields that a signature sets: the agent's own of these names are dropped. */
export const SIGNATURE_FIELDS: readonly string[] = ['authorization', 'x-amz-date', 'x-amz-security-token'];

const TOKEN_START = Buffer.from('X-Amz-Security-Token: ', 'latin1');
const CRLF = Buffer.from('\r\n', 'latin1');

/** The field lines of one request's signature; the session token is written as bytes. */
export function signatureLines(signed: Signed, sessionToken: Buffer | undefined): CompiledInjection {
  const lines = Buffer.from(signed.lines, 'latin1');
  const token = sessionToken ? [TOKEN_START, sessionToken, CRLF] : [];
  const parts = [...token, lines];
  return {
    names: SIGNATURE_FIELDS,
    length: () => parts.reduce((sum, part) => sum + part.length, 0),
    write: (out, at) => parts.reduce((end, part) => end + part.copy(out, end), at),
    // Whoever gets it back could send the same request past the proxy while it is fresh.
    scrubTargets: () => [Buffer.from(signed.signature, 'latin1')],
  };
}
