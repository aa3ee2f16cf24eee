import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { toPem } from '../../../certs/pem.ts';
import { ISSUING, LEAF } from '../../../certs/profiles.ts';
import { certify, commonName, emptyName, signWith } from '../../../src/vault/authorities/certificate.ts';
import { children, decode } from '../../../src/vault/authorities/der.ts';
import { Issuer, type SigningRoot } from '../../../src/vault/authorities/issuer.ts';
import { generateKeyPair } from '../../../src/vault/authorities/key-pair.ts';
import { generalName, nameConstraints } from '../../../src/vault/authorities/names.ts';
import { agentRoot, createRoot, type Root } from '../../../src/vault/authorities/root.ts';

/** A worker's key, as a worker makes it. */
export function workerKey(): { spki: Buffer; key: string } {
  const pair = generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return { spki: pair.publicKey, key: pair.privateKey };
}

export interface Authority {
  readonly rootPem: string;
  readonly issuer: Issuer;
  /** How often the root's key signed. */
  readonly signed: () => number;
}

/** An agent's authority, whose root signs after a while, as an HSM does. */
export function authority(hosts: readonly string[], now: () => number = Date.now): Authority {
  const root = createRoot(agentRoot({ id: 'agt_0123456789abcdef', name: 'builder' }, 1));
  let signed = 0;
  const issuer = new Issuer({
    root: {
      certificate: root.certificate,
      sign: async (message) => {
        signed += 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
        return signWith(root.privateKey, message);
      },
    },
    hosts,
    now,
  });
  return { rootPem: toPem(root.certificate), issuer, signed: () => signed };
}

/** An agent's authority while its root is being replaced. */
export function overlap(hosts: readonly string[]): {
  readonly oldPem: string;
  readonly newPem: string;
  readonly issuer: Issuer;
} {
  const agent = { id: 'agt_0123456789abcdef', name: 'builder' };
  const [old, fresh] = [createRoot(agentRoot(agent, 1)), createRoot(agentRoot(agent, 2))];
  const signing = ({ certificate, privateKey }: Root): SigningRoot => ({
    certificate,
    sign: async (message) => signWith(privateKey, message),
  });
  const issuer = new Issuer({ root: signing(old), successor: signing(fresh), hosts });
  return { oldPem: toPem(old.certificate), newPem: toPem(fresh.certificate), issuer };
}

/**
 * What a thief of the issuing key would make: a leaf for `host` below an authority whose constraints come from
 * `patterns`, without the issuer's own refusal in between.
 */
export function stolenAuthority(patterns: readonly string[], host: string) {
  const root = createRoot(agentRoot({ id: 'agt_0123456789abcdef', name: 'builder' }, 1));
  const rootName = children(children(decode(root.certificate))[0])[5] ?? emptyName();
  const rootKey = new X509Certificate(root.certificate).publicKey.export({ type: 'spki', format: 'der' });
  const [issuing, worker] = [generateKeyPair(), generateKeyPair()];
  const subject = commonName('Sallyport issuing stolen');
  const times = { now: Date.now(), notAfter: Number.MAX_SAFE_INTEGER };
  const authority = certify(
    {
      ...times,
      profile: ISSUING,
      subject,
      issuer: rootName,
      point: issuing.point,
      issuerPoint: rootKey.subarray(-65),
      constraints: nameConstraints(patterns),
    },
    root.privateKey,
  );
  const leaf = certify(
    {
      ...times,
      profile: LEAF,
      subject: emptyName(),
      issuer: subject,
      point: worker.point,
      issuerPoint: issuing.point,
      names: [generalName(host)],
    },
    issuing.privateKey,
  );
  const key = createPrivateKey({ key: worker.privateKey, format: 'der', type: 'pkcs8' });
  return {
    rootPem: toPem(root.certificate),
    chainPem: toPem(leaf.der) + toPem(authority.der),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** Whether the chain, leaf first, leads to that root: each certificate signed by the next, one of them by the root. */
export function leadsTo(chain: readonly X509Certificate[], root: X509Certificate | undefined): boolean {
  const top = chain.findIndex((each) => root && each.checkIssued(root) && each.verify(root.publicKey));
  return (
    top >= 1 && chain.slice(0, top).every((each, i) => each.verify(chain[i + 1]?.publicKey ?? each.publicKey))
  );
}
