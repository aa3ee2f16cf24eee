import net from 'node:net';
import { LRUCache } from 'lru-cache';
import { SallyportError } from '../errors.ts';
import { caresQuery, type DnsQuery } from './dns-query.ts';
import { type Hosts, parseHosts } from './hosts-file.ts';
import { LookupSlots } from './lookup-slots.ts';
import { WatchedFile } from './watched-file.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Where to dial. None of the addresses has been checked yet: AddressGuard's part. */
export interface Resolution {
  readonly addresses: readonly ResolvedAddress[];
  readonly port: number;
  /** True where `--upstream-resolve` named the destination. */
  readonly override: boolean;
}

export interface ResolverOptions {
  /** `--upstream-resolve HOST:PORT=ADDRESS:TOPORT`; the address is an IP literal, IPv6 with or without brackets. */
  readonly overrides: readonly {
    readonly host: string;
    readonly port: number;
    readonly address: string;
    readonly toPort: number;
  }[];
  /** For one name, its wait for a slot included. */
  readonly timeoutMs: number;
  readonly maxConcurrentPerAgent: number;
  readonly hostsFile?: string;
  readonly query?: DnsQuery;
}

const NO_HOSTS: Hosts = new Map();
const CACHE_NAMES = 4096;
const CACHE_MS = 30_000;
/** RFC 8305, 3: how long an answer of one family waits for the other's. */
const RESOLUTION_DELAY_MS = 50;
/** More addresses than anyone dials: a hostile answer. */
const MAX_ADDRESSES = 32;

/**
 * Finds the addresses of a host: overrides, IP literals, the hosts file, localhost (RFC 6761), then DNS. Names are
 * taken as they are, without search domains, since a rule grants exactly one name; multicast DNS and other nsswitch
 * sources are not asked. libuv's getaddrinfo would know them, but four slow names fill its pool, and every agent's
 * lookups and files wait behind them.
 */
export class Resolver {
  readonly #overrides = new Map<string, Resolution>();
  readonly #timeoutMs: number;
  readonly #hosts: WatchedFile<Hosts>;
  readonly #query: DnsQuery;
  readonly #slots: LookupSlots;
  readonly #cache = new LRUCache<string, readonly ResolvedAddress[]>({ max: CACHE_NAMES, ttl: CACHE_MS });
  readonly #running = new Map<string, Promise<readonly ResolvedAddress[]>>();

  /** Throws `invalid_settings` where an override's address is not an IP literal. */
  constructor(options: ResolverOptions) {
    for (const { host, port, address, toPort } of options.overrides) {
      const literal = toResolved(bareHost(address));
      if (!literal) {
        throw new SallyportError(
          'invalid_settings',
          `--upstream-resolve ${host}:${port} needs an IP address to dial; "${address}" is none.`,
        );
      }
      this.#overrides.set(`${bareHost(host)} ${port}`, {
        addresses: [literal],
        port: toPort,
        override: true,
      });
    }
    this.#timeoutMs = options.timeoutMs;
    this.#hosts = new WatchedFile(options.hostsFile ?? '/etc/hosts', NO_HOSTS, parseHosts);
    this.#query = options.query ?? caresQuery(options.timeoutMs);
    this.#slots = new LookupSlots(options.maxConcurrentPerAgent);
  }

  /**
   * The addresses of `host` (a name in A-labels, or an IP literal, brackets and a trailing dot allowed) for `port`.
   * Throws `upstream_unresolved`; `rate_limited` where the agent has too many names waiting.
   */
  async resolve(host: string, port: number, agent: string): Promise<Resolution> {
    const name = bareHost(host);
    const override = this.#overrides.get(`${name} ${port}`);
    if (override) return override;
    const literal = toResolved(name);
    if (literal) return { addresses: [literal], port, override: false };
    if (!isHostName(name)) throw unresolved('The requested host is not a valid name. Correct the URL.');
    return { addresses: this.#local(name) ?? (await this.#remote(name, agent)), port, override: false };
  }

  /** Whether `--upstream-resolve` names the destination. */
  isOverridden(host: string, port: number): boolean {
    return this.#overrides.has(`${bareHost(host)} ${port}`);
  }

  /** The addresses that are known without asking anybody: of a literal, or of a name in the hosts file. */
  known(host: string): readonly ResolvedAddress[] | undefined {
    const name = bareHost(host);
    const literal = toResolved(name);
    return literal ? [literal] : this.#local(name);
  }

  #local(name: string): readonly ResolvedAddress[] | undefined {
    const listed = this.#hosts.get().get(name);
    if (listed) return toAddresses(listed);
    return /(^|\.)localhost$/.test(name) ? toAddresses(['127.0.0.1', '::1']) : undefined;
  }

  #remote(name: string, agent: string): Promise<readonly ResolvedAddress[]> | readonly ResolvedAddress[] {
    const cached = this.#cache.get(name);
    if (cached) return cached;
    // Shared within an agent only: another's lookup may stand in its queue.
    const key = `${agent} ${name}`;
    const running = this.#running.get(key);
    if (running) return running;
    const lookup = this.#lookup(name, agent).finally(() => this.#running.delete(key));
    this.#running.set(key, lookup);
    return lookup;
  }

  #lookup(name: string, agent: string): Promise<readonly ResolvedAddress[]> {
    return new Promise((resolve, reject) => {
      let waiting = true;
      const timer = setTimeout(() => {
        waiting = false;
        reject(
          unresolved(`The host ${name} was not resolved within ${this.#timeoutMs} ms. Try again later.`),
        );
      }, this.#timeoutMs);
      const report = (found: readonly string[]): void => {
        clearTimeout(timer);
        const addresses = toAddresses(found);
        this.#cache.set(name, addresses);
        resolve(addresses);
      };
      const isWanted = (): boolean => waiting;
      this.#slots
        .run(agent, isWanted, () => this.#ask(name, report))
        .catch((error: unknown) => {
          clearTimeout(timer);
          reject(error);
        });
    });
  }

  /** Reports the addresses once both families have answered or the first has waited; settles when both are done. */
  async #ask(name: string, report: (found: readonly string[]) => void): Promise<void> {
    const answers: [string[], string[]] = [[], []];
    const failures: unknown[] = [];
    let delay: NodeJS.Timeout | undefined;
    const take = async (family: 0 | 1, query: Promise<string[]>): Promise<void> => {
      try {
        answers[family] = await query;
      } catch (error) {
        failures.push(error);
      }
      if (answers[family].length > 0) delay ??= setTimeout(() => report(answers.flat()), RESOLUTION_DELAY_MS);
    };
    await Promise.all([take(0, this.#query.resolve6(name)), take(1, this.#query.resolve4(name))]);
    clearTimeout(delay);
    const found = answers.flat();
    if (found.length === 0) throw noAddress(name, failures);
    report(found);
  }
}

/** Lower case, without brackets around an IPv6 literal or the root's dot. */
export function bareHost(host: string): string {
  const lower = host.toLowerCase();
  return lower.startsWith('[') && lower.endsWith(']') ? lower.slice(1, -1) : lower.replace(/\.$/, '');
}

/** Labels of a host name; one whose last is a number is an IPv4 address that not everybody reads alike. */
function isHostName(name: string): boolean {
  if (name.length > 253 || /(^|\.)(\d+|0x[0-9a-f]*)$/.test(name)) return false;
  return /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/.test(name);
}

function toResolved(address: string): ResolvedAddress | undefined {
  const family = address.includes('%') ? 0 : net.isIP(address); // a zone names an interface
  return family === 4 || family === 6 ? { address, family } : undefined;
}

function toAddresses(found: readonly string[]): readonly ResolvedAddress[] {
  return found.slice(0, MAX_ADDRESSES).flatMap((address) => toResolved(address) ?? []);
}

function noAddress(name: string, failures: readonly unknown[]): SallyportError {
  const codes = failures.map((failure) =>
    failure instanceof Error && 'code' in failure ? String(failure.code) : 'no answer',
  );
  const why = [...new Set(codes)].join(', ') || 'no address';
  return unresolved(`The host ${name} could not be resolved (${why}). Check the name.`, failures[0]);
}

function unresolved(message: string, cause?: unknown): SallyportError {
  return new SallyportError('upstream_unresolved', message, { cause });
}
