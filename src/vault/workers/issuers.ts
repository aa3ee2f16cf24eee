import type { AgentsTable } from '../../store/schema.ts';
import { hasExpired, newestRoot, oldRoot } from '../agents/roots.ts';
import { Issuer } from '../authorities/issuer.ts';
import type { RootKeys } from '../authorities/root-keys.ts';

interface Kept {
  /** Holds the newest row: its keys may be wrapped anew. */
  readonly holder: { row: AgentsTable };
  /** Whether leaves come from an old root, for those that trust either. */
  readonly overlap: boolean;
  readonly hosts: string;
  readonly issuer: Issuer;
}

/** Each agent's issuer, whose issuing authority is constrained to the agent's current hosts: made anew when they change. */
export class Issuers {
  readonly #rootKeys: RootKeys;
  readonly #kept = new Map<string, Kept>();

  constructor(rootKeys: RootKeys) {
    this.#rootKeys = rootKeys;
  }

  /** The issuer of `agent` for those hosts (`issuedHosts`). */
  of(agent: AgentsTable, hosts: readonly string[]): Issuer {
    const known = this.#kept.get(agent.id);
    const old = oldRoot(agent);
    const overlap = old !== undefined && !hasExpired(old);
    if (
      known &&
      sameRoots(known.holder.row, agent) &&
      known.overlap === overlap &&
      known.hosts === hosts.join(' ')
    ) {
      known.holder.row = agent;
      return known.issuer;
    }
    known?.issuer.close();
    const holder = { row: agent };
    const newest = this.#rootKeys.signing(() => newestRoot(holder.row));
    const before = overlap && this.#rootKeys.signing(() => oldRoot(holder.row) ?? old);
    const issuer = new Issuer({
      ...(before ? { root: before, successor: newest } : { root: newest }),
      hosts,
    });
    this.#kept.set(agent.id, { holder, overlap, hosts: hosts.join(' '), issuer });
    return issuer;
  }

  /** Closes the issuers whose agent has other hosts now (by its id), or is gone. */
  keepOnly(hosts: ReadonlyMap<string, readonly string[]>): void {
    for (const [id, { issuer, hosts: own }] of this.#kept) {
      if (hosts.get(id)?.join(' ') === own) continue;
      issuer.close();
      this.#kept.delete(id);
    }
  }
}

function sameRoots(a: AgentsTable, b: AgentsTable): boolean {
  return a.root_certificate === b.root_certificate && a.old_root_certificate === b.old_root_certificate;
}
