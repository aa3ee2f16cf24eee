import { SallyportError } from '../../errors.ts';
import { rowId } from '../../store/schema.ts';
import { proxyRows } from '../authorities/proxy-row.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { PolicyState } from '../policy/state.ts';
import { type Wrapping, wrappings } from './wrapping.ts';

/** Rows named in one sentence. */
const NAMED = 10;

/** A KEK that rows need and the token does not hold: after a store from before its retirement was put back. */
export interface MissingKek {
  readonly kek: string;
  readonly rows: readonly {
    readonly table: string;
    readonly id: string;
    /** What the row is, in words. */
    readonly what: string;
    /** Commands that make the row need it no more, in their order. */
    readonly mend: readonly string[];
  }[];
}

/** The KEKs that rows of the policy are wrapped with and that are not among `held`, the labels of the token's keys. */
export function missingKeks(state: PolicyState, held: ReadonlySet<string>): MissingKek[] {
  const lost = [...wrappings(state)].filter(({ kek }) => !held.has(kek));
  return [...Map.groupBy(lost, ({ kek }) => kek)].map(([kek, of]) => ({
    kek,
    rows: of.map((each) => ({
      table: each.entry.table,
      id: rowId(each.entry),
      ...remedy(state, each),
    })),
  }));
}

/** The same by what the keyholder last saw of the token; empty while nothing is known of it. */
export function knownMissing(state: PolicyState, keyholder: KeyholderClient): MissingKek[] {
  if (!keyholder.info) return [];
  return missingKeks(state, new Set(keyholder.info.keys.map(({ label }) => label)));
}

/** Throws hsm_key_missing, naming rows and what to do about each, where any row needs a KEK that is gone. */
export function requireKeks(missing: readonly MissingKek[]): void {
  if (missing.length > 0) throw new SallyportError('hsm_key_missing', describeMissing(missing));
}

/** One paragraph: which KEKs, which rows, what to do. Empty where none is missing. */
export function describeMissing(missing: readonly MissingKek[]): string {
  if (missing.length === 0) return '';
  const rows = missing.flatMap((each) => each.rows);
  const named = rows
    .slice(0, NAMED)
    .map(({ what, mend }) => `${what}: ${mend.map((one) => `\`${one}\``).join(', then ')}`);
  const more =
    rows.length > NAMED ? `; and ${rows.length - NAMED} more, which \`sallyport integrity check\` lists` : '';
  const keks = missing.map(({ kek }) => kek).join(', ');
  return `The token holds no ${keks}, which ${rows.length} ${rows.length === 1 ? 'data key is' : 'data keys are'} wrapped with: they cannot be opened. Use a clone of the token that still has it, or replace what needs it: ${named.join('; ')}${more}.`;
}

function remedy(state: PolicyState, { entry, which }: Wrapping): { what: string; mend: string[] } {
  if (entry.table === 'credential_versions') {
    const { credential: id, version } = entry.row;
    const credential = state.credential(id);
    const service = credential?.service ?? '';
    const named = `${service} --label ${credential?.label ?? ''}`;
    const shred = `sallyport credential shred ${id} --version ${version}`;
    const current = credential?.current_version === version;
    return {
      what: `version ${version} of ${service} "${credential?.label ?? ''}"`,
      mend: current ? [`sallyport credential set ${named}`, shred] : [shred],
    };
  }
  if (entry.table === 'agents') {
    const { name } = entry.row;
    const retire = `sallyport agent retire-ca ${name}`;
    const newest = which === 'newest' && entry.row.old_root_certificate === null;
    const rotate = `sallyport agent rotate-ca ${name}`;
    if (newest) return { what: `the CA of agent ${name}`, mend: [rotate, retire] };
    // A CA that is to be replaced needs its predecessor to be over.
    return which === 'newest'
      ? { what: `the CA of agent ${name}`, mend: [retire, rotate, retire] }
      : { what: `the earlier CA of agent ${name}`, mend: [retire] };
  }
  const roots = proxyRows(state);
  const [rotate, retire] = ['sallyport authority rotate', 'sallyport authority retire'];
  const oldest = roots.length > 1 && roots[0]?.id === rowId(entry);
  if (oldest) return { what: 'the earlier CA of the TLS listener', mend: [retire] };
  return {
    what: 'the CA of the TLS listener',
    mend: roots.length > 1 ? [retire, rotate, retire] : [rotate, retire],
  };
}
