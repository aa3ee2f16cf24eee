import { randomBytes } from 'node:crypto';
import { toPem } from '../../../certs/pem.ts';
import {
  bits,
  boolean,
  decode,
  ecdsaSignature,
  encode,
  type Node,
  nothing,
  octets,
  oid,
  sequence,
  set,
  tagged,
  time,
  unsigned,
  utf8,
} from '../authorities/der.ts';

const ALGORITHM = { rsa: '1.2.840.113549.1.1.11', ecdsa: '1.2.840.10045.4.3.2' } as const;
const COMMON_NAME = '2.5.4.3';
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const DIGITAL_SIGNATURE = 0x80;
const YEARS = 10;

/**
 * A certificate (RFC 5280, 4.1; PEM) of a key by itself. Services that take public keys in one look at the key alone;
 * some take its end for the key's. `sign`: SHA-256 with PKCS #1 v1.5, or ECDSA as r‖s. Throws what `sign` throws.
 */
export async function selfSigned(
  spki: Buffer,
  kind: 'rsa' | 'ecdsa',
  name: string,
  sign: (message: Buffer) => Promise<Buffer>,
): Promise<string> {
  const now = new Date();
  const end = new Date(now);
  end.setUTCFullYear(end.getUTCFullYear() + YEARS);
  const algorithm = kind === 'rsa' ? sequence(oid(ALGORITHM.rsa), nothing()) : sequence(oid(ALGORITHM.ecdsa));
  const subject = sequence(set(sequence(oid(COMMON_NAME), utf8(name))));
  const body = sequence(
    tagged(0, [unsigned(Buffer.of(2))]), // version 3
    unsigned(randomBytes(16)),
    algorithm,
    subject,
    sequence(time(now), time(end)),
    subject,
    decode(spki),
    tagged(3, [
      sequence(
        extension(BASIC_CONSTRAINTS, sequence()),
        extension(KEY_USAGE, bits(Buffer.of(DIGITAL_SIGNATURE), 7)),
      ),
    ]),
  );
  const signature = await sign(encode(body));
  const whole = kind === 'rsa' ? signature : ecdsaSignature(signature);
  return toPem(encode(sequence(body, algorithm, bits(whole))));
}

function extension(id: string, value: Node): Node {
  return sequence(oid(id), boolean(true), octets(encode(value)));
}
