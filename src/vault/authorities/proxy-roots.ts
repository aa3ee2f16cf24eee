import { SallyportError } from '../../errors.ts';
import type { AuthoritiesTable, PolicyRow } from '../../store/schema.ts';
import type { Changes } from '../changes.ts';
import type { Policy } from '../policy/policy.ts';
import {
  hasEnded,
  needsNext,
  nextRoot,
  PROXY,
  proxyRows,
  removedRow,
  rowOf,
  storedRoot,
} from './proxy-row.ts';
import type { RootKeys } from './root-keys.ts';

/** What a change is to do with the roots that there are. */
interface Plan {
  readonly makesNext: boolean;
  readonly over: readonly AuthoritiesTable[];
}

/** What became of them: rows' ids, the newest one's last. */
export interface ReplacedRoots {
  readonly made: readonly string[];
  readonly ended: readonly string[];
  readonly roots: readonly string[];
}

/** The roots of the proxy's own authority, and how one takes the place of another. */
export class ProxyRoots {
  readonly #policy: Policy;
  readonly #changes: Changes;
  readonly #rootKeys: RootKeys;

  constructor(policy: Policy, changes: Changes, rootKeys: RootKeys) {
    this.#policy = policy;
    this.#changes = changes;
    this.#rootKeys = rootKeys;
  }

  /** Makes what the store lacks, the first root or the next, and drops what has ended. Throws what a change does. */
  async ensure(): Promise<void> {
    const before = proxyRows(this.#policy.state);
    if (!needsNext(before) && !before.some(hasEnded)) return;
    const action = before.length === 0 ? 'authority.add' : 'authority.renew';
    await this.#replace(action, (rows) => ({ makesNext: needsNext(rows), over: rows.filter(hasEnded) }));
  }

  /**
   * Makes a new root. Until `retire` agents trust both, and clients that have only one of them are served. Throws
   * already_exists while an earlier one still counts, and what a change does.
   */
  rotate(): Promise<ReplacedRoots> {
    return this.#replace('authority.rotate', (rows) => {
      const over = rows.filter(hasEnded);
      if (rows.length - over.length < 2) return { makesNext: true, over };
      const message =
        "An earlier CA of the TLS listener still counts: end that with `sallyport authority retire` once every agent's machine has the new one.";
      throw new SallyportError('already_exists', message);
    });
  }

  /** Ends trust in the oldest root: nothing comes from it any more, and its key is destroyed. Throws not_found. */
  retire(): Promise<ReplacedRoots> {
    return this.#replace('authority.retire', (rows) => {
      const [oldest, next] = rows;
      if (oldest && next) return { makesNext: false, over: [oldest] };
      const message =
        'The TLS listener has one CA and no earlier one: make a new one with `sallyport authority rotate` first.';
      throw new SallyportError('not_found', message);
    });
  }

  async #replace(
    action: string,
    planned: (rows: readonly AuthoritiesTable[]) => Plan,
  ): Promise<ReplacedRoots> {
    const { over, outcome } = await this.#changes.apply(action, PROXY, async (state) => {
      const rows = proxyRows(state);
      const { makesNext, over } = planned(rows);
      const next = makesNext ? [rowOf(await this.#rootKeys.create(nextRoot(state)))] : [];
      const changed = [...over.map(removedRow), ...next];
      const [made, ended] = [ids(next), ids(over)];
      const roots = [...ids(rows).filter((id) => !ended.includes(id)), ...made];
      return {
        rows: changed.map((row): PolicyRow => ({ table: 'authorities', row })),
        shreds: over.length > 0 ? 'now' : undefined,
        result: { over, outcome: { made, ended, roots } },
        detail: { made: made.join(' '), ended: ended.join(' ') },
      };
    });
    await this.#rootKeys.destroy(over.map(storedRoot));
    return outcome;
  }
}

function ids(rows: readonly AuthoritiesTable[]): string[] {
  return rows.map(({ id }) => id);
}
