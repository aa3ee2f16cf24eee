import { SallyportError } from '../../errors.ts';
import { readNames } from '../../store/columns.ts';
import type { AgentsTable, CredentialsTable, GrantsTable, PolicyRow } from '../../store/schema.ts';
import { type Changes, newId, UNSIGNED } from '../changes.ts';
import type { PolicyState } from '../policy/state.ts';
import { requireService } from '../services/services.ts';

/** Upper-case methods and path prefixes that a grant is narrowed to; absent: as it was, or everything. */
export interface Narrowing {
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
}

export interface GrantSet {
  readonly id: string;
  /** False where it was there already. */
  readonly created: boolean;
  readonly agent: string;
  readonly service: string;
  readonly label: string;
  readonly credential: string;
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

/** Says which agent may use which credential, within which methods and paths. */
export class Grants {
  readonly #changes: Changes;

  constructor(changes: Changes) {
    this.#changes = changes;
  }

  /** Throws not_found, ambiguous_label where the service has several credentials and no label is given. */
  put(
    agentName: string,
    service: string,
    label: string | undefined,
    narrowing: Narrowing,
  ): Promise<GrantSet> {
    return this.#changes.apply('grant.add', `${agentName} ${service}`, (state) => {
      const agent = requireAgent(state, agentName);
      const credential = requireCredential(state, service, label);
      const { row, current, created } = draftGrant(
        state,
        agent,
        credential,
        narrowing,
        new Date().toISOString(),
      );
      const methods = readNames(current.methods);
      const paths = readNames(current.paths);
      return {
        rows: row ? [{ table: 'grants', row }] : [],
        result: {
          id: current.id,
          created,
          agent: agent.name,
          service,
          label: credential.label,
          credential: credential.id,
          methods,
          paths,
        },
        detail: { credential: credential.id, methods: methods.join(' '), paths: paths.join(' ') },
      };
    });
  }

  /** Removes the agent's grants for the service, or for one label of it. Throws not_found. */
  remove(agentName: string, service: string, label: string | undefined): Promise<void> {
    return this.#changes.apply('grant.remove', `${agentName} ${service}`, (state) => {
      const agent = requireAgent(state, agentName);
      const found = state.grants().filter((grant) => {
        if (grant.agent !== agent.id || grant.service !== service) return false;
        return label === undefined || state.credential(grant.credential)?.label === label;
      });
      if (found.length === 0) {
        const what = label === undefined ? service : `${service}/${label}`;
        const message = `${agentName} has no grant for ${what}; \`sallyport grant list\` shows them.`;
        throw new SallyportError('not_found', message);
      }
      const removed_at = new Date().toISOString();
      const rows = found.map((grant): PolicyRow => ({ table: 'grants', row: { ...grant, removed_at } }));
      return {
        rows,
        result: undefined,
        detail: { credentials: found.map((grant) => grant.credential).join(' ') },
      };
    });
  }
}

/**
 * The grant of `credential` to `agent`, as it is to be: `row` is undefined where nothing changes, `current` is what
 * then is in force.
 */
export function draftGrant(
  state: PolicyState,
  agent: AgentsTable,
  credential: Pick<CredentialsTable, 'id' | 'service'>,
  narrowing: Narrowing,
  now: string,
): { row: GrantsTable | undefined; current: GrantsTable; created: boolean } {
  const existing = state
    .grants()
    .find((grant) => grant.agent === agent.id && grant.credential === credential.id);
  const row: GrantsTable = {
    ...(existing ?? { id: newId('grt'), created_at: now }),
    ...UNSIGNED,
    agent: agent.id,
    service: credential.service,
    credential: credential.id,
    methods: narrowing.methods ? JSON.stringify(narrowing.methods) : (existing?.methods ?? '[]'),
    paths: narrowing.paths ? JSON.stringify(narrowing.paths) : (existing?.paths ?? '[]'),
    removed_at: null,
  };
  const same = existing?.methods === row.methods && existing.paths === row.paths;
  return same
    ? { row: undefined, current: existing, created: false }
    : { row, current: row, created: !existing };
}

/** Throws not_found. */
export function requireAgent(state: PolicyState, name: string): AgentsTable {
  const agent = state.agentNamed(name);
  if (agent) return agent;
  throw new SallyportError('not_found', `No agent is named ${name}; \`sallyport agent list\` shows them.`);
}

/** The service's credential of that label, or its only one. Throws not_found, ambiguous_label. */
function requireCredential(state: PolicyState, service: string, label: string | undefined): CredentialsTable {
  requireService(state, service);
  const all = state.credentialsOf(service);
  const found = label === undefined ? all : all.filter((credential) => credential.label === label);
  const [only, second] = found;
  if (second) {
    const labels = all.map((credential) => credential.label).sort();
    throw new SallyportError(
      'ambiguous_label',
      `${service} has several credentials (${labels.join(', ')}): say which with --label.`,
    );
  }
  if (only) return only;
  const what =
    label === undefined ? `${service} has no credential` : `${service} has no credential labelled ${label}`;
  throw new SallyportError('not_found', `${what}: set one with \`sallyport credential set ${service}\`.`);
}
