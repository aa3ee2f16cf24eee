import { randomBytes } from 'node:crypto';
import { ROOT } from '../../../certs/profiles.ts';
import { certify, commonName } from './certificate.ts';
import { generateKeyPair } from './key-pair.ts';

/** A root: certificate in DER, and its private key in PKCS#8 DER, which the caller seals and wipes. */
export interface Root {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
}

/** X.520's limit for a common name. */
const COMMON_NAME_CHARACTERS = 64;

/** Makes the root of an agent's authority: what that agent, and nobody else, installs in its trust store. */
export function createRoot(agent: { readonly id: string; readonly name: string }): Root {
  const suffix = ` ${agent.id.slice(-8)}`;
  const room = COMMON_NAME_CHARACTERS - suffix.length;
  return rootNamed(`${[...`Sallyport agent ${agent.name}`].slice(0, room).join('')}${suffix}`);
}

/** Makes the root of the proxy's own authority, which every agent trusts beside its own. */
export function createProxyRoot(): Root {
  return rootNamed(`Sallyport proxy ${randomBytes(4).toString('hex')}`);
}

function rootNamed(name: string): Root {
  const { privateKey, point } = generateKeyPair();
  const subject = commonName(name);
  const parts = { profile: ROOT, subject, issuer: subject, point, issuerPoint: point };
  const { der } = certify({ ...parts, now: Date.now(), notAfter: Number.MAX_SAFE_INTEGER }, privateKey);
  return { certificate: der, privateKey };
}
