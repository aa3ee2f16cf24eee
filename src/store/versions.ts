import { SallyportError } from '../errors.ts';
import type { PolicyRows } from './schema.ts';

/** One version of a credential, as it is listed. */
export interface VersionEntry {
  readonly credential: string;
  readonly version: number;
  readonly state: 'current' | 'kept' | 'shredded';
  /** Label of the KEK under which its data key is wrapped; null once shredded. */
  readonly kek: string | null;
  readonly created: string;
  /** When it was shredded. */
  readonly shredded: string | null;
}

/** All versions of a service's credential, newest first. Throws not_found. */
export function listVersions(rows: PolicyRows, service: string, label: string): VersionEntry[] {
  const credential = rows.credentials.find(
    (row) => row.service === service && row.label === label && row.removed_at === null,
  );
  if (!credential) {
    const message = `${service} has no credential with the label ${label}; \`sallyport credential list\` shows them.`;
    throw new SallyportError('not_found', message);
  }
  return rows.credential_versions
    .filter((row) => row.credential === credential.id)
    .sort((a, b) => b.version - a.version)
    .map(({ version, sealed, kek, created_at, removed_at }) => ({
      credential: credential.id,
      version,
      state: sealed === null ? 'shredded' : version === credential.current_version ? 'current' : 'kept',
      kek,
      created: created_at,
      shredded: removed_at,
    }));
}
