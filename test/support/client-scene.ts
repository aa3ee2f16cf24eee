import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificateAuthority, makeCa, makeServerCert } from './certificates.ts';
import { ClientServer } from './client-server.ts';
import { type CliOptions, type CliResult, cli, startSallyport } from './sallyport.ts';

export const SECRET = 'the-secret-of-the-service';
export const API = 'https://api.test';
export const GIT = 'https://git.test/git';
export const GRPC = 'grpc.test:443';
const bearer = { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] };
const SERVICES = [
  { id: 'api', hosts: [{ pattern: 'api.test' }], auth: bearer, fields: [{ key: 'token' }] },
  { id: 'grpc', hosts: [{ pattern: 'grpc.test' }], auth: bearer, fields: [{ key: 'token' }] },
  {
    id: 'git',
    hosts: [{ pattern: 'git.test' }],
    auth: { inject: [{ in: 'basic', username: '{user}', password: '{password}' }] },
    fields: [{ key: 'user', secret: false }, { key: 'password' }],
  },
];

/** The real `serve`, an agent with a grant for each service, and the servers that real clients are to reach. */
export interface ClientScene {
  readonly server: ClientServer;
  /** Where git repositories are served from. */
  readonly repositories: string;
  readonly folder: string;
  /** Runs a client as the agent: `sallyport run -- WORDS`. */
  run(words: readonly string[], options?: CliOptions): Promise<CliResult>;
  remove(): Promise<void>;
}

/** `serveGrpc`: starts a server of gRPC with a certificate for grpc.test, and answers its port. */
export async function startClientScene(
  serveGrpc?: (ca: CertificateAuthority) => Promise<number>,
): Promise<ClientScene> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-clients-'));
  const repositories = join(folder, 'repositories');
  mkdirSync(repositories);
  const ca = makeCa('Upstream Authority');
  const [caFile, servicesFile] = [join(folder, 'upstream.pem'), join(folder, 'services.json')];
  writeFileSync(caFile, ca.cert);
  writeFileSync(servicesFile, JSON.stringify(SERVICES));
  const server = await ClientServer.start(makeServerCert(ca, ['api.test', 'git.test']), repositories);
  const at = { 'api.test': server.port, 'git.test': server.port, 'grpc.test': await serveGrpc?.(ca) };
  const sallyport = await startSallyport({
    flags: [
      ...['--workers', '1', '--upstream-ca', caFile, '--upstream-allow', '127.0.0.0/8'],
      ...Object.entries(at).flatMap(([host, port]) =>
        port === undefined ? [] : ['--upstream-resolve', `${host}:443=127.0.0.1:${port}`],
      ),
    ],
  });
  await sallyport.cli(['service', 'add', '--file', servicesFile]);
  await sallyport.cli(['agent', 'add', 'bot']);
  for (const [service, ...more] of [['api'], ['grpc'], ['git', '--field', 'user=someone']] as const) {
    await sallyport.cli(['credential', 'set', service, '--agent', 'bot', ...more], { stdin: SECRET });
  }
  return {
    server,
    repositories,
    folder,
    run: (words, options) =>
      cli(['--data', sallyport.data, 'run', '--agent', 'bot', '--', ...words], options),
    remove: async () => {
      await sallyport.remove();
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
