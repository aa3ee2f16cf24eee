import { hash } from 'node:crypto';
import { type Exchange, exchangeOf, exchangeUrl } from '../../catalog/exchange.ts';
import { canonicalHost } from '../../catalog/host.ts';
import { compileHosts, compileInjection } from '../../catalog/rule.ts';
import type { Service } from '../../catalog/service.ts';
import type { Rule, ServiceLimits, Snapshot } from '../../channel/messages/policy.ts';
import { readFields, readNames } from '../../store/columns.ts';
import type {
  AgentsTable,
  CredentialsTable,
  CredentialVersionsTable,
  GrantsTable,
  ServicesTable,
} from '../../store/schema.ts';
import { authorityName } from '../agents/roots.ts';
import type { Sessions } from '../agents/sessions.ts';
import { listenerAuthority } from '../authorities/proxy-row.ts';
import { describeFailures } from '../integrity/verify.ts';
import type { Policy } from '../policy/policy.ts';
import type { PolicyState } from '../policy/state.ts';

/** A grant with all the rows behind it, and the rule that they make. */
export interface CompiledGrant {
  readonly grant: GrantsTable;
  readonly service: ServicesTable;
  readonly credential: CredentialsTable;
  /** Undefined where its row failed authentication: the rule then says so. */
  readonly version: CredentialVersionsTable | undefined;
  readonly rule: Rule;
  readonly definition: Service;
  /** How the token is made that workers get instead of fields; null: they get fields. */
  readonly exchange: Exchange | null;
}

/** Makes of the policy what workers get. A grant is compiled anew only where a row behind it was replaced. */
export class SnapshotCompiler {
  readonly #policy: Policy;
  readonly #sessions: Sessions;
  readonly #compiled = new WeakMap<GrantsTable, CompiledGrant>();
  #revision = 0;
  #hosts: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(policy: Policy, sessions: Sessions) {
    this.#policy = policy;
    this.#sessions = sessions;
  }

  /** Of the newest snapshot. */
  get revision(): number {
    return this.#revision;
  }

  /** The snapshot of the policy as it is now, under a new revision; before it is loaded, one that refuses everything. */
  compile(): Snapshot {
    this.#revision += 1;
    const revision = this.#revision;
    const { unread } = this.#policy;
    if (unread !== null) {
      return { revision, unread, integrity: null, listenerAuthority: '', agents: [], rules: [] };
    }
    const state = this.#policy.state;
    const rules = state.grants().flatMap((grant) => this.#compile(state, grant)?.rule ?? []);
    const granted = Map.groupBy(rules, ({ agent }) => agent);
    this.#hosts = new Map(state.agents().map(({ id }) => [id, issuedHosts(granted.get(id) ?? [])]));
    const authorityOf = (agent: AgentsTable): string =>
      `${authorityName(agent)} ${hash('sha256', (this.#hosts.get(agent.id) ?? []).join(' '))}`;
    return {
      revision,
      unread,
      integrity: this.#policy.integrity,
      listenerAuthority: listenerAuthority(state),
      agents: [
        ...state
          .agents()
          .map((agent) => ({ ...this.#agent(agent), authority: authorityOf(agent), integrity: null })),
        ...this.#policy.findings.suspectAgents.map((agent) => ({
          ...this.#agent(agent),
          authority: authorityOf(agent),
          integrity: this.#suspicion(agent),
        })),
      ],
      rules,
    };
  }

  /** The hosts that each agent's certificates may be for, by its id, in the newest snapshot. */
  get hostsByAgent(): ReadonlyMap<string, readonly string[]> {
    return this.#hosts;
  }

  /** The grant of that id as it stands in a snapshot; undefined where it has none. */
  grant(id: string): CompiledGrant | undefined {
    const grant = this.#policy.state.grant(id);
    return grant && this.#compile(this.#policy.state, grant);
  }

  /** All of an agent's grants. */
  grantsOf(agent: string): CompiledGrant[] {
    const state = this.#policy.state;
    const own = state.grants().filter((grant) => grant.agent === agent);
    return own.flatMap((grant) => this.#compile(state, grant) ?? []);
  }

  /** SHA-256 of each token that is the agent's now. */
  tokenHashes(agent: AgentsTable): Buffer[] {
    const own = agent.token_hash?.length === 32 ? [agent.token_hash] : [];
    return [...own, ...this.#sessions.of(agent.id)];
  }

  #agent(agent: AgentsTable) {
    const tokens = this.tokenHashes(agent).map((hash) => hash.toString('hex'));
    const unlisted = agent.unlisted ?? ('deny' as const);
    return { id: agent.id, name: agent.name, tokens, unlisted };
  }

  #suspicion(agent: AgentsTable): string | null {
    const failure = this.#policy.findings.failureOf('agents', agent.id);
    return failure ? describeFailures([failure]) : null;
  }

  #compile(state: PolicyState, grant: GrantsTable): CompiledGrant | undefined {
    const service = state.service(grant.service);
    const credential = state.credential(grant.credential);
    if (!service || !credential) return undefined; // their rows failed: the whole snapshot says so
    const version = state.version(credential.id, credential.current_version);
    const known = this.#compiled.get(grant);
    if (known?.service === service && known.credential === credential && known.version === version)
      return known;
    const rule = this.#rule(state, grant, service, credential, version);
    if (!rule) return undefined;
    const definition = state.definition(service);
    const exchange = exchangeOf(definition);
    const compiled = { grant, service, credential, version, rule, definition, exchange };
    this.#compiled.set(grant, compiled);
    return compiled;
  }

  /** Undefined where the definition no longer compiles (another version's rules): no rule, so no credential. */
  #rule(
    state: PolicyState,
    grant: GrantsTable,
    service: ServicesTable,
    credential: CredentialsTable,
    version: CredentialVersionsTable | undefined,
  ): Rule | undefined {
    const rowId = `${credential.id}/${credential.current_version}`;
    const failure = this.#policy.findings.failureOf('credential_versions', rowId);
    const gone = failure ? describeFailures([failure]) : `The row ${rowId} of credential_versions is gone.`;
    try {
      const definition = state.definition(service);
      const publicFields = readFields(credential.public_fields);
      return {
        id: grant.id,
        agent: grant.agent,
        service: grant.service,
        credential: credential.id,
        version: credential.current_version,
        hosts: compileHosts(definition, publicFields),
        methods: readNames(grant.methods),
        paths: readNames(grant.paths),
        inject: version ? compileInjection(definition, publicFields, readNames(version.secret_fields)) : [],
        ...tokenOf(definition, publicFields),
        plainHttp: definition.plain_http,
        http2: definition.http2,
        limits: limitsOf(definition),
        integrity: version ? null : gone,
      };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      process.stderr.write(`sallyport: the grant ${grant.id} for ${grant.service} is not in force: ${why}\n`);
      return undefined;
    }
  }
}

/** The hosts that an agent's certificates may be for, in order: a change of them takes a new issuing authority. */
export function issuedHosts(rules: readonly Rule[]): string[] {
  return [...new Set(rules.flatMap(({ hosts }) => hosts.map(({ pattern }) => pattern)))].sort();
}

function tokenOf(
  definition: Service,
  publicFields: Readonly<Record<string, string>>,
): Pick<Rule, 'token' | 'tokenEndpoint'> {
  const exchange = exchangeOf(definition);
  if (!exchange) return {};
  if (exchange.kind === 'per-request') return { token: 'per-request' };
  const url = exchangeUrl(definition, exchange, publicFields);
  if (!url) return { token: 'kept' };
  const host = canonicalHost(url.hostname) ?? url.hostname;
  const port = url.port === '' ? 443 : Number(url.port);
  return { token: 'kept', tokenEndpoint: { host, port, path: url.pathname } };
}

function limitsOf({ limits }: Service): ServiceLimits {
  return {
    bodyBytes: limits.body_bytes,
    connectTimeoutMs: limits.connect_timeout_ms,
    responseTimeoutMs: limits.head_timeout_ms,
    idleTimeoutMs: limits.idle_timeout_ms,
    totalTimeoutMs: limits.total_timeout_ms,
  };
}
