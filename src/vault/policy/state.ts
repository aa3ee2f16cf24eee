import { parseService, type Service } from '../../catalog/service.ts';
import type {
  AgentsTable,
  AuthoritiesTable,
  CredentialsTable,
  CredentialVersionsTable,
  GrantsTable,
  PolicyRow,
  PolicyRows,
  ServicesTable,
} from '../../store/schema.ts';

/**
 * The policy in memory, from which everything is served: rows that were authenticated when they were read, or that
 * this vault wrote. Rows are never changed in place: a change replaces the row, so what is derived from one may be
 * kept beside it.
 */
export class PolicyState {
  readonly #agents = new Map<string, AgentsTable>();
  readonly #authorities = new Map<string, AuthoritiesTable>();
  readonly #services = new Map<string, ServicesTable>();
  readonly #credentials = new Map<string, CredentialsTable>();
  readonly #versions = new Map<string, CredentialVersionsTable>();
  readonly #grants = new Map<string, GrantsTable>();
  readonly #definitions = new WeakMap<ServicesTable, Service>();

  put(entry: PolicyRow): void {
    if (entry.table === 'agents') this.#agents.set(entry.row.id, entry.row);
    else if (entry.table === 'authorities') this.#authorities.set(entry.row.id, entry.row);
    else if (entry.table === 'services') this.#services.set(entry.row.id, entry.row);
    else if (entry.table === 'credentials') this.#credentials.set(entry.row.id, entry.row);
    else if (entry.table === 'grants') this.#grants.set(entry.row.id, entry.row);
    else this.#versions.set(versionKey(entry.row.credential, entry.row.version), entry.row);
  }

  /** The row in force in the place of `entry`'s. */
  current(entry: PolicyRow): PolicyRow['row'] | undefined {
    if (entry.table === 'agents') return this.#agents.get(entry.row.id);
    if (entry.table === 'authorities') return this.#authorities.get(entry.row.id);
    if (entry.table === 'services') return this.#services.get(entry.row.id);
    if (entry.table === 'credentials') return this.#credentials.get(entry.row.id);
    if (entry.table === 'grants') return this.#grants.get(entry.row.id);
    return this.#versions.get(versionKey(entry.row.credential, entry.row.version));
  }

  rows(): PolicyRows {
    return {
      agents: [...this.#agents.values()],
      authorities: [...this.#authorities.values()],
      services: [...this.#services.values()],
      credentials: [...this.#credentials.values()],
      credential_versions: [...this.#versions.values()],
      grants: [...this.#grants.values()],
    };
  }

  /** Rows that are not removed. */
  agents(): AgentsTable[] {
    return live(this.#agents);
  }

  credentials(): CredentialsTable[] {
    return live(this.#credentials);
  }

  grants(): GrantsTable[] {
    return live(this.#grants);
  }

  agent(id: string): AgentsTable | undefined {
    return present(this.#agents.get(id));
  }

  agentNamed(name: string): AgentsTable | undefined {
    return this.agents().find((agent) => agent.name === name);
  }

  /** The roots of the proxy's own authority. */
  authorities(): AuthoritiesTable[] {
    return live(this.#authorities);
  }

  authority(id: string): AuthoritiesTable | undefined {
    return present(this.#authorities.get(id));
  }

  service(id: string): ServicesTable | undefined {
    return present(this.#services.get(id));
  }

  credential(id: string): CredentialsTable | undefined {
    return present(this.#credentials.get(id));
  }

  credentialsOf(service: string): CredentialsTable[] {
    return this.credentials().filter((credential) => credential.service === service);
  }

  grant(id: string): GrantsTable | undefined {
    return present(this.#grants.get(id));
  }

  version(credential: string, version: number): CredentialVersionsTable | undefined {
    return present(this.#versions.get(versionKey(credential, version)));
  }

  /** Versions of a credential that still hold something sealed, newest first; one between may have been shredded. */
  heldVersions(credential: CredentialsTable): CredentialVersionsTable[] {
    const held: CredentialVersionsTable[] = [];
    for (let version = credential.current_version; version > 0; version--) {
      const row = this.version(credential.id, version);
      if (row) held.push(row);
    }
    return held;
  }

  /** The definition in a service's row, parsed once. */
  definition(row: ServicesTable): Service {
    let service = this.#definitions.get(row);
    if (!service) {
      service = parseService(JSON.parse(row.definition));
      this.#definitions.set(row, service);
    }
    return service;
  }
}

function versionKey(credential: string, version: number): string {
  return `${credential}/${version}`;
}

function present<R extends { removed_at: string | null }>(row: R | undefined): R | undefined {
  return row?.removed_at === null ? row : undefined;
}

function live<R extends { removed_at: string | null }>(rows: ReadonlyMap<string, R>): R[] {
  return [...rows.values()].filter((row) => row.removed_at === null);
}
