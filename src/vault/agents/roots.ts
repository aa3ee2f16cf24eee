import { X509Certificate } from 'node:crypto';
import { SallyportError } from '../../errors.ts';
import type { AgentsTable } from '../../store/schema.ts';
import { agentRoot } from '../authorities/root.ts';
import type { StoredRoot } from '../authorities/root-keys.ts';
import type { Envelope } from '../credentials/envelope.ts';

type RootColumns = Pick<
  AgentsTable,
  'root_certificate' | 'root_key_sealed' | 'root_key_dek' | 'root_key_kek' | 'root_number'
>;
type OldRootColumns = Pick<
  AgentsTable,
  'old_root_certificate' | 'old_root_key_sealed' | 'old_root_key_dek' | 'old_root_key_kek'
>;

/** The agent's newest root. Throws not_found where it has none. */
export function newestRoot(agent: AgentsTable): StoredRoot {
  const { root_certificate: certificate, root_key_sealed: sealed, root_key_dek: dek } = agent;
  if (!certificate) {
    throw new SallyportError('not_found', `The agent ${agent.name} has no authority: add it anew.`);
  }
  const owner = agentRoot(agent, agent.root_number ?? 1);
  return { owner, certificate, key: envelope(sealed, dek, agent.root_key_kek) };
}

/** The root before it, while both are trusted. */
export function oldRoot(agent: AgentsTable): StoredRoot | undefined {
  const { old_root_certificate: certificate, old_root_key_sealed: sealed, old_root_key_dek: dek } = agent;
  if (!certificate) return undefined;
  const owner = agentRoot(agent, (agent.root_number ?? 1) - 1);
  return { owner, certificate, key: envelope(sealed, dek, agent.old_root_key_kek) };
}

/** All that the agent is to trust, the one that its leaves come from first. */
export function rootsOf(agent: AgentsTable): StoredRoot[] {
  const old = oldRoot(agent);
  return [...(old ? [old] : []), ...(agent.root_certificate ? [newestRoot(agent)] : [])];
}

/** Names what the agent's leaves come from: another name after each step of replacing its root. */
export function authorityName({ root_number, old_root_certificate }: AgentsTable): string {
  return `${root_number ?? 1}${old_root_certificate ? ' and before' : ''}`;
}

/** Whether the root can sign nothing more. */
export function hasExpired({ certificate }: StoredRoot, now = Date.now()): boolean {
  return new X509Certificate(certificate).validToDate.getTime() <= now;
}

export function rootColumns({ owner, certificate, key }: StoredRoot): RootColumns {
  return {
    root_certificate: certificate,
    root_key_sealed: key?.sealed ?? null,
    root_key_dek: key?.dek ?? null,
    root_key_kek: key?.kek ?? null,
    root_number: owner.number === 1 ? null : owner.number,
  };
}

export function oldRootColumns(root: StoredRoot | undefined): OldRootColumns {
  return {
    old_root_certificate: root?.certificate ?? null,
    old_root_key_sealed: root?.key?.sealed ?? null,
    old_root_key_dek: root?.key?.dek ?? null,
    old_root_key_kek: root?.key?.kek ?? null,
  };
}

function envelope(sealed: Buffer | null, dek: Buffer | null, kek: string | null): Envelope | null {
  return sealed && dek && kek !== null ? { sealed, dek, kek } : null;
}
