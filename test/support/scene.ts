import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Agent } from './agent.ts';
import { makeCa } from './certificates.ts';
import { type Sallyport, type StartOptions, startSallyport } from './sallyport.ts';
import { Upstream } from './upstream.ts';

/** One service per way of writing a credential; each has hosts of its own, all served by one upstream. */
export const SERVICES = [
  {
    id: 'bearer',
    hosts: [{ pattern: 'bearer.test' }],
    auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
    fields: [{ key: 'token' }],
  },
  {
    id: 'keyed',
    hosts: [{ pattern: 'keyed.test' }],
    auth: { inject: [{ in: 'header', name: 'X-Api-Key', value: '{key}' }] },
    fields: [{ key: 'key' }],
  },
  {
    id: 'login',
    hosts: [{ pattern: 'login.test' }],
    auth: { inject: [{ in: 'basic', username: '{user}', password: '{password}' }] },
    fields: [{ key: 'user', secret: false }, { key: 'password' }],
  },
  {
    id: 'wild',
    hosts: [{ pattern: '*.wild.test' }, { pattern: 'ported.test:8443' }],
    auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Token {token}' }] },
    fields: [{ key: 'token' }],
  },
] as const;

const HOSTS = [
  'bearer.test:443',
  'bearer.test:8443',
  'keyed.test:443',
  'login.test:443',
  'a.wild.test:443',
  'b.wild.test:443',
  'a.b.wild.test:443',
  'wild.test:443',
  'ported.test:443',
  'ported.test:8443',
  'ungranted.test:443',
];
/** The real program with the services above, and the upstream that they lead to. */
export interface Scene {
  readonly sallyport: Sallyport;
  readonly upstream: Upstream;
  /** Adds an agent through the command line. */
  addAgent(name: string): Promise<Agent>;
  /** Sets a credential through the command line, and grants it in the same step. Answers its id. */
  setCredential(
    service: string,
    value: string,
    options?: { agents?: readonly string[]; label?: string; fields?: readonly string[] },
  ): Promise<string>;
  /** For `t.teardown`. */
  remove(): Promise<void>;
}

export interface SceneOptions extends StartOptions {
  /** HOST:PORT, each served by the upstream; those of the services and some besides, unless given. */
  readonly hosts?: readonly string[];
  /** Names that the upstream has a certificate for, besides those of `hosts`. */
  readonly names?: readonly string[];
  /** In the catalog's shape; those above unless given. */
  readonly services?: readonly object[];
}

/** Starts everything: `const scene = await startScene(); t.teardown(scene.remove)`. */
export async function startScene({
  hosts = HOSTS,
  names = [],
  services = SERVICES,
  ...options
}: SceneOptions = {}): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-scene-'));
  const ca = makeCa('Upstream Authority');
  const caFile = join(folder, 'upstream.pem');
  const servicesFile = join(folder, 'services.json');
  writeFileSync(caFile, ca.cert);
  writeFileSync(servicesFile, JSON.stringify(services));
  const served = new Set([...hosts.map((host) => host.replace(/:.*/, '')), ...names]);
  const upstream = await Upstream.start(ca, [...served]);
  const flags = [
    ...['--upstream-ca', caFile, '--upstream-allow', '127.0.0.0/8'],
    ...hosts.flatMap((host) => ['--upstream-resolve', `${host}=127.0.0.1:${upstream.port}`]),
    ...(options.flags ?? []),
  ];
  const sallyport = await startSallyport({ ...options, flags });
  await sallyport.cli(['service', 'add', '--file', servicesFile]);
  return {
    sallyport,
    upstream,
    addAgent: async (name) => {
      const added = Added.parse(await sallyport.json(['agent', 'add', name]));
      return { name, token: added.token, ca: readFileSync(added.ca, 'utf8') };
    },
    setCredential: async (service, value, { agents = [], label, fields = [] } = {}) => {
      const more = [
        ...agents.flatMap((agent) => ['--agent', agent]),
        ...(label === undefined ? [] : ['--label', label]),
        ...fields.flatMap((field) => ['--field', field]),
      ];
      const set = await sallyport.json(['credential', 'set', service, ...more], { stdin: value });
      return Identified.parse(set).id;
    },
    remove: async () => {
      await sallyport.remove();
      await upstream.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const Added = z.object({ token: z.string(), ca: z.string() });
const Identified = z.object({ id: z.string() });
