import type { SnapshotAgent } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { AgentsTable, PolicyRow } from '../../store/schema.ts';
import { createRoot } from '../authorities/root.ts';
import { type Changes, newId, UNSIGNED } from '../changes.ts';
import { rootKeyBinding } from '../credentials/binding.ts';
import { openEnvelope, sealEnvelope } from '../credentials/envelope.ts';
import { requireAgent } from '../grants/grants.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Sessions } from './sessions.ts';

type Unlisted = SnapshotAgent['unlisted'];

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Who may use the proxy, each with an authority of its own. */
export class Agents {
  readonly #changes: Changes;
  readonly #keyholder: KeyholderClient;
  readonly #sessions: Sessions;

  constructor(changes: Changes, keyholder: KeyholderClient, sessions: Sessions) {
    this.#changes = changes;
    this.#keyholder = keyholder;
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
      const root = createRoot({ id, name });
      try {
        const binding = rootKeyBinding(id, root.certificate);
        const { sealed, dek, kek } = await sealEnvelope(this.#keyholder, binding, root.privateKey);
        const row: AgentsTable = {
          ...UNSIGNED,
          id,
          name,
          token_hash: tokenHash,
          root_certificate: root.certificate,
          root_key_sealed: sealed,
          root_key_dek: dek,
          root_key_kek: kek,
          unlisted: unlisted === 'tunnel' ? unlisted : null,
          created_at: new Date().toISOString(),
          removed_at: null,
        };
        return { rows: [{ table: 'agents', row }], result: { id, name }, detail: { agent: id, unlisted } };
      } finally {
        root.privateKey.fill(0);
      }
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

  /** Removes an agent with its grants, token and authority. Throws not_found. */
  remove(name: string): Promise<void> {
    return this.#changes.apply('agent.remove', name, (state) => {
      const agent = requireAgent(state, name);
      const removed_at = new Date().toISOString();
      const emptied = { token_hash: null, root_key_sealed: null, root_key_dek: null, root_key_kek: null };
      const rows: PolicyRow[] = [{ table: 'agents', row: { ...agent, ...emptied, removed_at } }];
      for (const grant of state.grants()) {
        if (grant.agent === agent.id) rows.push({ table: 'grants', row: { ...grant, removed_at } });
      }
      return { rows, shreds: 'now', result: undefined, detail: { agent: agent.id } };
    });
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

/** Runs `use` with the private key (PKCS#8 DER) of the agent's root, which is wiped afterwards. Throws hsm_unavailable. */
export async function withRootKey<T>(
  keyholder: KeyholderClient,
  agent: AgentsTable,
  use: (privateKey: Buffer) => T | Promise<T>,
): Promise<T> {
  const { root_certificate, root_key_sealed: sealed, root_key_dek: dek, root_key_kek: kek } = agent;
  if (!root_certificate || !sealed || !dek || kek === null) {
    throw new SallyportError('not_found', `The agent ${agent.name} has no authority: add it anew.`);
  }
  const privateKey = await openEnvelope(keyholder, rootKeyBinding(agent.id, root_certificate), {
    sealed,
    dek,
    kek,
  });
  try {
    return await use(privateKey);
  } finally {
    privateKey.fill(0);
  }
}
