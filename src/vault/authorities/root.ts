import { ROOT, SUCCESSOR } from '../../../certs/profiles.ts';
import { type CertificateParts, certify, certifyBy, commonName, type Sign } from './certificate.ts';
import { generateKeyPair } from './key-pair.ts';

/** A root: certificate in DER, and its private key in PKCS#8 DER, which the caller seals and wipes. */
export interface Root {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
}

/** Which root it is. */
export interface RootOwner {
  /** What its key is bound to where it is sealed: the agent, or the row of the proxy's authority. */
  readonly id: string;
  /** Of its key where that is in the HSM. */
  readonly label: string;
  /** 1 is the first, the next one takes its place. */
  readonly number: number;
}

/** A root that can be made. Each has a name of its own: trust stores find certificates by it. */
export interface NewRoot extends RootOwner {
  readonly commonName: string;
}

/** X.520's limit for a common name. */
const COMMON_NAME_CHARACTERS = 64;

/** A root of an agent's authority: what that agent, and nobody else, installs in its trust store. */
export function agentRoot({ id, name }: { id: string; name: string }, number: number): NewRoot {
  const suffix = ` ${id.slice(-8)}${number === 1 ? '' : `-${number}`}`;
  const room = COMMON_NAME_CHARACTERS - suffix.length;
  const begin = [...`Sallyport agent ${name}`].slice(0, room).join('');
  return { id, label: `${id}-${number}`, number, commonName: `${begin}${suffix}` };
}

/** Makes a root with its key. */
export function createRoot(root: NewRoot): Root {
  const { privateKey, point } = generateKeyPair();
  const { der } = certify(selfIssued(root, point), privateKey);
  return { certificate: der, privateKey };
}

/** The certificate (DER) of a root whose key lies elsewhere, which `sign` signs with. Throws what that throws. */
export async function certifyRoot(root: NewRoot, point: Buffer, sign: Sign): Promise<Buffer> {
  return (await certifyBy(selfIssued(root, point), sign)).der;
}

function selfIssued({ commonName: name, number }: NewRoot, point: Buffer): CertificateParts {
  const profile = number === 1 ? ROOT : SUCCESSOR;
  const subject = commonName(name);
  const issuer = { issuer: subject, issuerPoint: point };
  return { profile, subject, point, ...issuer, now: Date.now(), notAfter: Number.MAX_SAFE_INTEGER };
}
