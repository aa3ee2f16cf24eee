import type { SnapshotAgent } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { AgentsTable, PolicyRow } from '../../store/schema.ts';
import { agentRoot } from '../authorities/root.ts';
import type { RootKeys } from '../authorities/root-keys.ts';
import { type Changes, newId, UNSIGNED } from '../changes.ts';
import { requireAgent } from '../grants/grants.ts';
import { hasExpired, newestRoot, oldRoot, oldRootColumns, rootColumns, rootsOf } from './roots.ts';
import type { Sessions } from './sessions.ts';

type Unlisted = SnapshotAgent['unlisted'];

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Who may use the proxy, each with an authority of its own. */
export class Agents {
  readonly #changes: Changes;
  readonly #rootKeys: RootKeys;
  readonly #sessions: Sessions;

  constructor(changes: Changes, rootKeys: RootKeys, sessions: Sessions) {
    this.#changes = changes;
    this.#rootKeys = rootKeys;
    this.#sessions = sessions;
  }

  /** `tokenHash`: SHA-256 of the token, which the vault never sees. Throws invalid_argument, already_exists. */
  add(name: string, tokenHash: Buffer, unlisted: Unlisted): Promise<{ id: string; name: string }> {
    if (!NAME.test(name)) {
      const message = `"${name.slice(0, 80)}" cannot name an agent: use a-z, 0-9, ".", "_" and "-", at most 63, beginning with a letter or digit.`;
      throw new SallyportError('invalid_argument', message);
    }
    return this.#changes.apply('agent.add', name, async (state) => {
      if (state.agentNamed(name)) {
        const message = `An agent is named ${name} already: choose another name, or \`sallyport agent rotate ${name}\` for a new token.`;
        throw new SallyportError('already_exists', message);
      }
      const id = newId('agt');
      const root = await this.#rootKeys.create(agentRoot({ id, name }, 1));
      const row: AgentsTable = {
        ...UNSIGNED,
        ...rootColumns(root),
        ...oldRootColumns(undefined),
        id,
        name,
        token_hash: tokenHash,
        unlisted: unlisted === 'tunnel' ? unlisted : null,
        created_at: new Date().toISOString(),
        removed_at: null,
      };
      return { rows: [{ table: 'agents', row }], result: { id, name }, detail: { agent: id, unlisted } };
    });
  }

  /** Puts a new token in the place of the old one. Throws not_found. */
  rotate(name: string, tokenHash: Buffer): Promise<{ id: string; name: string }> {
    return this.#changes.apply('agent.rotate', name, (state) => {
      const agent = requireAgent(state, name);
      const row = { ...agent, token_hash: tokenHash };
      return {
        rows: [{ table: 'agents', row }],
        result: { id: agent.id, name },
        detail: { agent: agent.id },
      };
    });
  }

  /** Says what becomes of hosts that no grant of the agent names. Throws not_found. */
  setUnlisted(name: string, unlisted: Unlisted): Promise<{ id: string; name: string }> {
    return this.#changes.apply('agent.set', name, (state) => {
      const agent = requireAgent(state, name);
      const row: AgentsTable = { ...agent, unlisted: unlisted === 'tunnel' ? unlisted : null };
      return {
        rows: row.unlisted === agent.unlisted ? [] : [{ table: 'agents', row }],
        result: { id: agent.id, name },
        detail: { agent: agent.id, unlisted },
      };
    });
  }

  /**
   * Gives the agent a new root. Until `retireAuthority` it trusts both, and so do clients that have only one of them;
   * an old root that has expired is left out at once. Throws not_found, already_exists while an earlier one still counts.
   */
  rotateAuthority(name: string): Promise<{ id: string; name: string }> {
    return this.#changes.apply('agent.rotate-ca', name, async (state) => {
      const agent = requireAgent(state, name);
      if (oldRoot(agent)) {
        const message = `An earlier CA of ${name} still counts: end that with \`sallyport agent retire-ca ${name}\` once every client has the new one.`;
        throw new SallyportError('already_exists', message);
      }
      const before = newestRoot(agent);
      const root = await this.#rootKeys.create(agentRoot(agent, before.owner.number + 1));
      const old = hasExpired(before) ? undefined : before;
      const row: AgentsTable = { ...agent, ...rootColumns(root), ...oldRootColumns(old) };
      return {
        rows: [{ table: 'agents', row }],
        result: { id: agent.id, name },
        detail: { agent: agent.id, root: root.owner.number },
      };
    });
  }

  /** Ends trust in the root before the newest: nothing comes from it any more, and its key is destroyed. Throws not_found. */
  async retireAuthority(name: string): Promise<{ id: string; name: string }> {
    const { id, old } = await this.#changes.apply('agent.retire-ca', name, (state) => {
      const agent = requireAgent(state, name);
      const old = oldRoot(agent);
      if (!old) {
        const message = `${name} has one CA and no earlier one: make a new one with \`sallyport agent rotate-ca ${name}\` first.`;
        throw new SallyportError('not_found', message);
      }
      const row: AgentsTable = { ...agent, ...oldRootColumns(undefined) };
      return {
        rows: [{ table: 'agents', row }],
        shreds: 'now',
        result: { id: agent.id, old },
        detail: { agent: agent.id, root: old.owner.number },
      };
    });
    await this.#rootKeys.destroy([old]);
    return { id, name };
  }

  /** Removes an agent with its grants, token and authority. Throws not_found. */
  async remove(name: string): Promise<void> {
    const roots = await this.#changes.apply('agent.remove', name, (state) => {
      const agent = requireAgent(state, name);
      const removed_at = new Date().toISOString();
      const emptied = { token_hash: null, root_key_sealed: null, root_key_dek: null, root_key_kek: null };
      const row: AgentsTable = { ...agent, ...emptied, ...oldRootColumns(undefined), removed_at };
      const rows: PolicyRow[] = [{ table: 'agents', row }];
      for (const grant of state.grants()) {
        if (grant.agent === agent.id) rows.push({ table: 'grants', row: { ...grant, removed_at } });
      }
      return { rows, shreds: 'now', result: rootsOf(agent), detail: { agent: agent.id } };
    });
    await this.#rootKeys.destroy(roots);
  }

  /**
   * Makes `tokenHash` count for the agent until the returned function is called; both resolve once every worker
   * knows. Throws not_found, rate_limited.
   */
  async openSession(name: string, tokenHash: Buffer): Promise<() => Promise<void>> {
    const id = await this.#changes.announce('session.open', name, (state) => {
      const agent = requireAgent(state, name);
      this.#sessions.add(agent.id, tokenHash);
      return agent.id;
    });
    return () => this.#changes.announce('session.close', name, () => this.#sessions.remove(id, tokenHash));
  }
}
