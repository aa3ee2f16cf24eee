import type { Rule, RuleHost } from '../../channel/messages/policy.ts';
import { type PathPattern, prefixPattern, servicePattern } from './path-pattern.ts';

/** One rule with one of its service's path patterns and one of the grant's: all of them must match. */
interface Entry {
  readonly rule: Rule;
  readonly methods: ReadonlySet<string> | undefined;
  readonly paths: readonly PathPattern[];
  /** Length of the longest pattern; 0 where the rule covers every path. */
  readonly length: number;
}

/**
 * The rules of one agent for one host pattern and port. Prefixes are found by lookup at the path's segments, so that
 * the cost of a match does not grow with the number of rules; only globs, a handful per service, are tried in turn.
 */
export class Destination {
  readonly pattern: string;
  readonly port: number;
  readonly rules: Rule[] = [];
  dependsOnPath = false;
  readonly #byPrefix = new Map<string, Entry[]>();
  readonly #others: Entry[] = [];
  #longestPrefix = 0;

  constructor(pattern: string, port: number) {
    this.pattern = pattern;
    this.port = port;
  }

  add(rule: Rule, host: RuleHost): void {
    if (this.rules.at(-1) !== rule) this.rules.push(rule); // a rule's hosts arrive together
    if (host.paths.length > 0 || rule.paths.length > 0) this.dependsOnPath = true;
    const methods = rule.methods.length > 0 ? new Set(rule.methods) : undefined;
    for (const ours of host.paths.length > 0 ? host.paths.map(servicePattern) : [undefined]) {
      for (const granted of rule.paths.length > 0 ? rule.paths.map(prefixPattern) : [undefined]) {
        const paths = [ours, granted].filter((pattern) => pattern !== undefined);
        this.#index({ rule, methods, paths, length: Math.max(0, ...paths.map((pattern) => pattern.length)) });
      }
    }
  }

  /** The most specific rules for this request: several only where nothing tells them apart. */
  best(method: string, path: string): readonly Rule[] {
    const found: { rules: Rule[]; length: number; listed: boolean } = {
      rules: [],
      length: -1,
      listed: false,
    };
    const consider = (entries: readonly Entry[] | undefined): void => {
      if (!entries) return;
      for (const entry of entries) {
        const listed = entry.methods !== undefined;
        if (entry.length < found.length || (entry.length === found.length && found.listed && !listed))
          continue;
        if (entry.methods && !entry.methods.has(method)) continue;
        if (!entry.paths.every((pattern) => pattern.matches(path))) continue;
        if (entry.length === found.length && found.listed === listed) {
          if (!found.rules.includes(entry.rule)) found.rules.push(entry.rule);
        } else {
          found.rules = [entry.rule];
          found.length = entry.length;
          found.listed = listed;
        }
      }
    };
    consider(this.#others);
    if (this.#byPrefix.size > 0) {
      const last = Math.min(path.length, this.#longestPrefix);
      for (let end = 1; end <= last; end++) {
        if (end === path.length || path[end] === '/' || path[end - 1] === '/') {
          consider(this.#byPrefix.get(path.slice(0, end)));
        }
      }
    }
    return found.rules;
  }

  #index(entry: Entry): void {
    let key = '';
    for (const { prefix } of entry.paths) if (prefix && prefix.length > key.length) key = prefix;
    if (key === '') {
      this.#others.push(entry);
      return;
    }
    const entries = this.#byPrefix.get(key);
    if (entries) entries.push(entry);
    else this.#byPrefix.set(key, [entry]);
    this.#longestPrefix = Math.max(this.#longestPrefix, key.length);
  }
}
