import { toPem } from '../../certs/pem.ts';
import { catalogService, catalogServices } from '../catalog/catalog.ts';
import { parseService, type Service } from '../catalog/service.ts';
import { SallyportError } from '../errors.ts';
import { readFields, readNames } from './columns.ts';
import type { PolicyRows, ServicesTable } from './schema.ts';

/** What the lists of the CLI and the API show: the same whether a vault answers or the file is read. No secret. */
export interface AgentEntry {
  readonly id: string;
  readonly name: string;
  /** What becomes of hosts that no grant of its names. */
  readonly unlisted: 'deny' | 'tunnel';
  readonly created: string;
}

export interface ServiceEntry {
  readonly id: string;
  readonly name: string;
  /** Patterns. */
  readonly hosts: readonly string[];
  readonly scheme: string;
  /** How many credentials it has. */
  readonly credentials: number;
}

export interface CredentialEntry {
  readonly id: string;
  readonly service: string;
  readonly label: string;
  readonly version: number;
  readonly publicFields: Readonly<Record<string, string>>;
  /** Names only. */
  readonly secretFields: readonly string[];
  /** Names of the agents that have a grant for it. */
  readonly agents: readonly string[];
  /** When this version was set. */
  readonly created: string;
  /** Whether its key is in the HSM, and only its name is sealed; null: a row of an earlier form does not say. */
  readonly inHsm: boolean | null;
}

export interface GrantEntry {
  readonly id: string;
  readonly agent: string;
  readonly service: string;
  readonly label: string;
  readonly credential: string;
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

export function listAgents(rows: PolicyRows): AgentEntry[] {
  return live(rows.agents)
    .map(({ id, name, unlisted, created_at }) => ({
      id,
      name,
      unlisted: unlisted ?? ('deny' as const),
      created: created_at,
    }))
    .sort((a, b) => order(a.name, b.name));
}

/**
 * What an agent is to trust, as PEM: the certificates of its own authority and of the proxy's TLS listener, each with the
 * one before it while that is being replaced. Throws not_found.
 */
export function agentAuthority(rows: PolicyRows, name: string): string {
  const agent = live(rows.agents).find((each) => each.name === name);
  if (!agent?.root_certificate) {
    throw new SallyportError('not_found', `No agent is named ${name}; \`sallyport agent list\` shows them.`);
  }
  const old = agent.old_root_certificate === null ? [] : [agent.old_root_certificate];
  const listeners = live(rows.authorities).map((authority) => authority.certificate);
  return [agent.root_certificate, ...old, ...listeners].map(toPem).join('');
}

/** The catalog's services and those added, by id; one that was added or used hides the catalog's of that id. */
export function listServices(rows: PolicyRows): ServiceEntry[] {
  const services = new Map(catalogServices());
  for (const row of live(rows.services)) services.set(row.id, definition(row));
  const counts = new Map<string, number>();
  for (const { service } of live(rows.credentials)) counts.set(service, (counts.get(service) ?? 0) + 1);
  return [...services.values()]
    .map(({ id, name, hosts, auth }) => ({
      id,
      name,
      hosts: hosts.map((host) => host.pattern),
      scheme: auth.scheme,
      credentials: counts.get(id) ?? 0,
    }))
    .sort((a, b) => order(a.id, b.id));
}

/** A service's definition, from its row or else the catalog. Throws not_found. */
export function showService(rows: PolicyRows, id: string): Service {
  const row = live(rows.services).find((service) => service.id === id);
  const service = row ? definition(row) : catalogService(id);
  if (service) return service;
  const message = `No service has the id ${id}; \`sallyport service list\` shows them, \`sallyport service add\` adds one.`;
  throw new SallyportError('not_found', message);
}

export function listCredentials(rows: PolicyRows): CredentialEntry[] {
  const names = new Map(live(rows.agents).map((agent) => [agent.id, agent.name]));
  const granted = Map.groupBy(live(rows.grants), (grant) => grant.credential);
  const versions = Map.groupBy(rows.credential_versions, (version) => version.credential);
  return live(rows.credentials)
    .map((row) => {
      const current = versions.get(row.id)?.find(({ version }) => version === row.current_version);
      return {
        id: row.id,
        service: row.service,
        label: row.label,
        version: row.current_version,
        publicFields: readFields(row.public_fields),
        secretFields: current ? readNames(current.secret_fields) : [],
        agents: (granted.get(row.id) ?? []).map((grant) => names.get(grant.agent) ?? grant.agent).sort(order),
        created: current?.created_at ?? row.created_at,
        inHsm:
          current && (current.hsm_key !== null || current.first_kek !== null)
            ? current.hsm_key !== null
            : null,
      };
    })
    .sort((a, b) => order(a.service, b.service) || order(a.label, b.label));
}

export function listGrants(rows: PolicyRows): GrantEntry[] {
  const names = new Map(live(rows.agents).map((agent) => [agent.id, agent.name]));
  const labels = new Map(rows.credentials.map((credential) => [credential.id, credential.label]));
  return live(rows.grants)
    .map((row) => ({
      id: row.id,
      agent: names.get(row.agent) ?? row.agent,
      service: row.service,
      label: labels.get(row.credential) ?? row.credential,
      credential: row.credential,
      methods: readNames(row.methods),
      paths: readNames(row.paths),
    }))
    .sort((a, b) => order(a.agent, b.agent) || order(a.service, b.service) || order(a.label, b.label));
}

function live<R extends { removed_at: string | null }>(rows: readonly R[]): R[] {
  return rows.filter((row) => row.removed_at === null);
}

function definition(row: ServicesTable): Service {
  return parseService(JSON.parse(row.definition));
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
