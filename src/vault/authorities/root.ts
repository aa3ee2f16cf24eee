import { randomBytes } from 'node:crypto';
import { type Profile, ROOT, SUCCESSOR } from '../../../certs/profiles.ts';
import { type CertificateParts, certify, certifyBy, commonName, type Sign } from './certificate.ts';
import { generateKeyPair } from './key-pair.ts';

/** A root: certificate in DER, and its private key in PKCS#8 DER, which the caller seals and wipes. */
export interface Root {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
}

/** Whose root it is, and which: 1 is the first, the next one takes its place. */
export interface RootOwner {
  readonly id: string;
  readonly name: string;
  readonly number: number;
}

/** X.520's limit for a common name. */
const COMMON_NAME_CHARACTERS = 64;

/** Makes the root of an agent's authority: what that agent, and nobody else, installs in its trust store. */
export function createRoot(owner: RootOwner): Root {
  return created(nameOf(owner), profileOf(owner));
}

/** The certificate (DER) of an agent's root whose key lies elsewhere, which `sign` signs with. Throws what that throws. */
export async function certifyRoot(owner: RootOwner, point: Buffer, sign: Sign): Promise<Buffer> {
  return (await certifyBy(selfIssued(nameOf(owner), profileOf(owner), point), sign)).der;
}

/** Makes a root of the proxy's own authority, which every agent trusts beside its own; `number` as of RootOwner. */
export function createProxyRoot(number: number): Root {
  return created(`Sallyport proxy ${randomBytes(4).toString('hex')}`, profileOf({ number }));
}

/** Each root of an agent has a name of its own: trust stores find certificates by it. */
function nameOf({ id, name, number }: RootOwner): string {
  const suffix = ` ${id.slice(-8)}${number === 1 ? '' : `-${number}`}`;
  const room = COMMON_NAME_CHARACTERS - suffix.length;
  return `${[...`Sallyport agent ${name}`].slice(0, room).join('')}${suffix}`;
}

function profileOf({ number }: Pick<RootOwner, 'number'>): Profile {
  return number === 1 ? ROOT : SUCCESSOR;
}

function created(name: string, profile: Profile): Root {
  const { privateKey, point } = generateKeyPair();
  const { der } = certify(selfIssued(name, profile, point), privateKey);
  return { certificate: der, privateKey };
}

function selfIssued(name: string, profile: Profile, point: Buffer): CertificateParts {
  const subject = commonName(name);
  const issuer = { issuer: subject, issuerPoint: point };
  return { profile, subject, point, ...issuer, now: Date.now(), notAfter: Number.MAX_SAFE_INTEGER };
}
