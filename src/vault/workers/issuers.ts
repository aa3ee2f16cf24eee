import { SallyportError } from '../../errors.ts';
import type { AgentsTable } from '../../store/schema.ts';
import { withRootKey } from '../agents/agents.ts';
import { Issuer } from '../authorities/issuer.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { CompiledGrant } from './snapshot.ts';

interface Kept {
  /** The newest: its key may be wrapped anew. */
  row: AgentsTable;
  readonly hosts: string;
  readonly issuer: Issuer;
}

/** Each agent's issuer, whose issuing authority is constrained to the agent's current hosts: made anew when they change. */
export class Issuers {
  readonly #keyholder: KeyholderClient;
  readonly #kept = new Map<string, Kept>();

  constructor(keyholder: KeyholderClient) {
    this.#keyholder = keyholder;
  }

  /** The issuer of `agent` for the hosts of its `grants`. */
  of(agent: AgentsTable, grants: readonly CompiledGrant[]): Issuer {
    const hosts = [...new Set(grants.flatMap(({ rule }) => rule.hosts.map((host) => host.pattern)))].sort();
    const known = this.#kept.get(agent.id);
    if (known?.row.root_certificate === agent.root_certificate && known.hosts === hosts.join(' ')) {
      known.row = agent;
      return known.issuer;
    }
    if (!agent.root_certificate) {
      throw new SallyportError('not_found', `The agent ${agent.name} has no authority: add it anew.`);
    }
    known?.issuer.close();
    const issuer = new Issuer({
      root: agent.root_certificate,
      withRootKey: (use) => withRootKey(this.#keyholder, this.#kept.get(agent.id)?.row ?? agent, use),
      hosts,
    });
    this.#kept.set(agent.id, { row: agent, hosts: hosts.join(' '), issuer });
    return issuer;
  }

  /** Closes the issuers of agents that are not among `ids`. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const [id, { issuer }] of this.#kept) {
      if (ids.has(id)) continue;
      issuer.close();
      this.#kept.delete(id);
    }
  }
}
