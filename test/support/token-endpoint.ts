import type { ServerResponse } from 'node:http';
import type { WorkerSettings } from '../../src/channel/messages/worker.ts';
import { type CertificateAuthority, makeCa } from './certificates.ts';
import { TOKEN_HOSTS } from './token-services.ts';
import { type Received, Upstream } from './upstream.ts';

/** A real token endpoint with TLS, which answers as `upstream.respond` says. */
export interface TokenEndpoint {
  readonly upstream: Upstream;
  readonly ca: CertificateAuthority;
  /** What leads the vault to it. */
  readonly settings: Partial<WorkerSettings>;
  /** The form that was sent last. */
  form(): Record<string, string>;
  /** Answers every request with this JSON from now on. */
  answer(body: unknown, status?: number): void;
  close(): Promise<void>;
}

export async function startTokenEndpoint(): Promise<TokenEndpoint> {
  const ca = makeCa('Token Authority');
  const hosts = TOKEN_HOSTS.map((host) => host.replace(/:.*/, ''));
  const upstream = await Upstream.start(ca, hosts);
  return {
    upstream,
    ca,
    settings: {
      upstreamCa: ca.cert,
      upstreamAllow: ['127.0.0.0/8'],
      upstreamResolve: hosts.map((host) => ({
        host,
        port: 443,
        address: '127.0.0.1',
        toPort: upstream.port,
      })),
    },
    form: () => Object.fromEntries(new URLSearchParams(upstream.last.body.toString())),
    answer: (body, status = 200) => {
      upstream.respond = (_request: Received, response: ServerResponse) => sendJson(response, body, status);
    },
    close: () => upstream.close(),
  };
}

export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
