import { randomBytes, X509Certificate } from 'node:crypto';
import type { AuthoritiesTable } from '../../store/schema.ts';
import { UNSIGNED } from '../changes.ts';
import type { PolicyState } from '../policy/state.ts';
import type { NewRoot, RootOwner } from './root.ts';
import type { StoredRoot } from './root-keys.ts';

/** Id of the row of the proxy's first root; the next ones are "proxy-2" and so on. */
export const PROXY = 'proxy';

const DAY_MS = 24 * 60 * 60 * 1000;
/** A root is followed by the next this long before it ends: time for agents on other machines to fetch it. */
const OVERLAP_MS = 180 * DAY_MS;

/** The rows of the proxy's roots, in the order in which they were made. Leaves come from the first that is in its time. */
export function proxyRows(state: PolicyState): AuthoritiesTable[] {
  return state.authorities().sort((a, b) => numberOf(a) - numberOf(b));
}

/** Names what the listener's certificate comes from: another name after each step of replacing its root. */
export function listenerAuthority(state: PolicyState): string {
  return proxyRows(state)
    .map(({ id }) => id)
    .join(' ');
}

/** The root in a row. */
export function storedRoot(row: AuthoritiesTable): StoredRoot {
  const { certificate, key_sealed: sealed, key_dek: dek, key_kek: kek } = row;
  return {
    owner: ownerOf(numberOf(row)),
    certificate,
    key: sealed.length === 0 ? null : { sealed, dek, kek },
  };
}

/** The root that comes after all that there ever were. */
export function nextRoot(state: PolicyState): NewRoot {
  const number = 1 + Math.max(0, ...state.rows().authorities.map(numberOf));
  return { ...ownerOf(number), commonName: `Sallyport proxy ${randomBytes(4).toString('hex')}` };
}

/** A new row for a root. */
export function rowOf({ owner, certificate, key }: StoredRoot): AuthoritiesTable {
  const created_at = new Date().toISOString();
  const { sealed, dek, kek } = key ?? NO_KEY;
  const columns = { key_sealed: sealed, key_dek: dek, key_kek: kek };
  return { ...UNSIGNED, id: owner.id, certificate, ...columns, created_at, removed_at: null };
}

/** The row of a root that counts no longer. */
export function removedRow(row: AuthoritiesTable): AuthoritiesTable {
  const { sealed, dek, kek } = NO_KEY;
  return { ...row, key_sealed: sealed, key_dek: dek, key_kek: kek, removed_at: new Date().toISOString() };
}

/** Whether the newest root is about to end, or there is none. */
export function needsNext(rows: readonly AuthoritiesTable[]): boolean {
  return !rows.some((row) => endOf(row) - OVERLAP_MS > Date.now());
}

/** Whether the root can sign nothing more. */
export function hasEnded(row: AuthoritiesTable): boolean {
  return endOf(row) <= Date.now();
}

const NO_KEY = { sealed: Buffer.alloc(0), dek: Buffer.alloc(0), kek: '' };

function endOf({ certificate }: AuthoritiesTable): number {
  return new X509Certificate(certificate).validToDate.getTime();
}

function numberOf({ id }: AuthoritiesTable): number {
  return Number(id.slice(PROXY.length + 1) || 1);
}

function ownerOf(number: number): RootOwner {
  const id = number === 1 ? PROXY : `${PROXY}-${number}`;
  return { id, label: `sallyport-proxy-${number}`, number };
}
