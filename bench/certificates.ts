import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Files in PEM. */
export interface Certificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes an authority and, issued by it, a P-256 certificate for `host`, both for one day, in `folder`. */
export function makeCertificates(folder: string, host: string): Certificates {
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  };
  const key = (file: string): void =>
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', file);
  key(at('authority.key'));
  const ca = [
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  ];
  openssl(
    'req',
    '-x509',
    '-new',
    '-key',
    at('authority.key'),
    '-days',
    '1',
    '-subj',
    '/CN=Bench authority',
    ...ca,
    '-out',
    at('authority.pem'),
  );
  key(at('server.key'));
  openssl('req', '-new', '-key', at('server.key'), '-subj', `/CN=${host}`, '-out', at('server.csr'));
  const extensions = `subjectAltName=DNS:${host}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n`;
  writeFileSync(at('server.ext'), extensions);
  openssl(
    'x509',
    '-req',
    '-in',
    at('server.csr'),
    '-CA',
    at('authority.pem'),
    '-CAkey',
    at('authority.key'),
    '-CAcreateserial',
    '-days',
    '1',
    '-extfile',
    at('server.ext'),
    '-out',
    at('server.pem'),
  );
  return { authority: at('authority.pem'), certificate: at('server.pem'), key: at('server.key') };
}
