import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import forge from 'node-forge';

/** The quickstart's server: HTTPS under an authority of its own, kept alive, and it remembers what it received. */
export interface DemoUpstream {
  readonly port: number;
  /** PEM of its authority, made anew at each start. */
  readonly ca: string;
  /** The last request's start line and fields, as they came in. */
  lastHead(): string;
  close(): void;
}

const MAX_HEAD = 64 * 1024;
const BODY = '{"message":"Hello! You are who your credential says you are."}\n';
const RESPONSE = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

/** Serves `host` on a free port of 127.0.0.1. It answers requests without a body, which is all that the demo sends. */
export async function startDemoUpstream(host: string): Promise<DemoUpstream> {
  const { ca, certificate, key } = certificates(host);
  let last = '';
  const server = createServer({ cert: certificate, key, ALPNProtocols: ['http/1.1'] }, (socket) => {
    answer(socket, (head) => {
      last = head;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port }: Pick<AddressInfo, 'port'> = Object.assign({ port: 0 }, server.address());
  return { port, ca, lastHead: () => last, close: () => server.close() };
}

function answer(socket: TLSSocket, received: (head: string) => void): void {
  let pending = '';
  socket.setNoDelay(true);
  socket.setEncoding('latin1');
  socket.on('error', () => socket.destroy()); // a caller that went away
  socket.on('data', (text) => {
    pending += String(text);
    for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
      received(pending.slice(0, end));
      pending = pending.slice(end + 4);
      socket.write(RESPONSE);
    }
    if (pending.length > MAX_HEAD) socket.destroy();
  });
}

function certificates(host: string): { ca: string; certificate: string; key: string } {
  const authority = keyPair();
  const server = keyPair();
  const authorityName = [{ name: 'commonName', value: 'Sallyport quickstart upstream' }];
  const ca = certificateFor(authorityName, authorityName, authority.publicKey, authority.privateKey, [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  const certificate = certificateFor(
    [{ name: 'commonName', value: host }],
    authorityName,
    server.publicKey,
    authority.privateKey,
    [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: host }] },
    ],
  );
  return { ca, certificate, key: server.pem };
}

function keyPair() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const key = forge.pki.privateKeyFromPem(pem);
  return { pem, privateKey: key, publicKey: forge.pki.setRsaPublicKey(key.n, key.e) };
}

function certificateFor(
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  publicKey: forge.pki.rsa.PublicKey,
  signer: forge.pki.rsa.PrivateKey,
  extensions: object[],
): string {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = publicKey;
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`;
  certificate.validity.notBefore = new Date(Date.now() - 3_600_000);
  certificate.validity.notAfter = new Date(Date.now() + 30 * 86_400_000);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  certificate.setExtensions(extensions);
  certificate.sign(signer, forge.md.sha256.create());
  return forge.pki.certificateToPem(certificate);
}
