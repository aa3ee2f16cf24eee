import { randomBytes } from 'node:crypto';
import { NO_LIMITS, type Rule, type Snapshot } from '../../channel/messages/policy.ts';
import { Destination } from './destination.ts';
import {
  type Refusal,
  refuseAmbiguousPath,
  refuseDestination,
  refuseIntegrity,
  refusePlain,
  refuseRequest,
  refuseTie,
  refuseUnread,
} from './refusal.ts';

export type { Destination, Refusal };

const HTTP = 80;
const HTTPS = 443;

/** What stands for a rule where a request is passed on without a credential. */
export const PASSED: Rule = {
  id: 'unlisted',
  agent: '',
  service: '',
  credential: '',
  version: 0,
  hosts: [],
  methods: [],
  paths: [],
  inject: [],
  plainHttp: true,
  http2: false,
  limits: NO_LIMITS,
  integrity: null,
};

export interface PolicyAgent {
  readonly id: string;
  readonly name: string;
  /** SHA-256 of each valid token, filled up with random ones to the same count for every agent of the table. */
  readonly tokenHashes: readonly Buffer[];
  /** Whether it may reach hosts that no rule of its names, without a credential. */
  readonly unlisted: 'deny' | 'tunnel';
  /** Names what its leaves come from. */
  readonly authority: string;
  /** Set where the agent's row failed authentication: its requests are refused with `integrity_failed`. */
  readonly integrity: string | null;
}

/** What one agent is granted: host pattern → port → rules. */
interface Hosts {
  readonly patterns: Map<string, Map<number, Destination>>;
  /** Of every pattern. */
  readonly ports: Set<number>;
  /** Whether any pattern is a wildcard: most agents have none, and their hosts need one lookup. */
  wildcards: boolean;
}

/**
 * A policy snapshot made fast to ask. The cost of a match depends on the labels of the host and the segments of the
 * path, not on the number of agents and rules. Hosts are given as the codec normalises them: lower-case A-labels
 * without a trailing dot; a path without its query.
 */
export class PolicyTable {
  readonly revision: number;
  /** Why everything is refused, whoever asks: the policy is not known yet, or was changed by somebody else. */
  readonly closed: Refusal | null;
  /** Token hashes of an agent that does not exist: authenticating it costs what any other costs. */
  readonly strangerHashes: readonly Buffer[];
  readonly #byName = new Map<string, PolicyAgent>();
  readonly #byId = new Map<string, PolicyAgent>();
  readonly #hosts = new Map<string, Hosts>();
  readonly #pathIsUnambiguous: (path: string) => boolean;

  /** `pathIsUnambiguous`: whether every reader of the path would see the same segments in it. */
  constructor(snapshot: Snapshot, pathIsUnambiguous: (path: string) => boolean) {
    this.revision = snapshot.revision;
    this.closed = closedBy(snapshot);
    this.#pathIsUnambiguous = pathIsUnambiguous;
    const slots = snapshot.agents.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
    this.strangerHashes = fill([], slots);
    for (const { id, name, tokens, unlisted, authority, integrity } of snapshot.agents) {
      const twice = this.#byName.has(name) ? 'two agents have this name' : null;
      const tokenHashes = fill(
        tokens.map((hex) => Buffer.from(hex, 'hex')),
        slots,
      );
      const agent: PolicyAgent = {
        id,
        name,
        tokenHashes,
        unlisted,
        authority,
        integrity: integrity ?? twice,
      };
      this.#byName.set(name, agent);
      this.#byId.set(id, agent);
    }
    for (const rule of snapshot.rules) this.#add(rule);
  }

  agentByName(name: string): PolicyAgent | undefined {
    return this.#byName.get(name);
  }

  /**
   * Whether the agent has a grant at `host` and `port`: the most specific destination, or that it has one at another
   * port of the host only, or none.
   */
  destination(agentId: string, host: string, port: number): 'none' | 'other-port' | Destination {
    const hosts = this.#hosts.get(agentId);
    if (!hosts) return 'none';
    let known = false;
    for (const pattern of patternsOf(host, hosts.wildcards)) {
      const ports = hosts.patterns.get(pattern);
      const destination = ports?.get(port);
      if (destination) return destination;
      if (ports) known = true;
    }
    return known ? 'other-port' : 'none';
  }

  /** Whether any rule of the agent names that port. */
  hasPort(agentId: string, port: number): boolean {
    return this.#hosts.get(agentId)?.ports.has(port) ?? false;
  }

  /** Whether the agent may reach the host without a credential: no rule of its names it, at whatever port. */
  passes(agentId: string, host: string, port: number): boolean {
    const agent = this.#byId.get(agentId);
    if (this.closed !== null || agent?.integrity !== null) return false;
    return agent.unlisted === 'tunnel' && this.destination(agentId, host, port) === 'none';
  }

  /**
   * The same as `match` for a request without TLS: a rule whose service allows that, or PASSED where the agent may
   * reach what no rule names.
   */
  matchPlain(agentId: string, host: string, port: number, method: string, path: string): Rule | Refusal {
    if (this.passes(agentId, host, port)) return PASSED;
    const found = this.match(agentId, host, port, method, path);
    if (!('code' in found)) return found.plainHttp ? found : refusePlain(host);
    // The address of a granted host with the scheme forgotten.
    const isSecure = port === HTTP && typeof this.destination(agentId, host, HTTPS) !== 'string';
    return isSecure ? refusePlain(host) : found;
  }

  /**
   * The one rule for a request, or why there is none. The most specific wins: exact host, then "*.", then "**."
   * (longest first); then the longest path pattern; then a rule that lists the method. What still ties between two
   * credentials is refused, as is an ambiguous path wherever a rule for the host depends on it.
   */
  match(agentId: string, host: string, port: number, method: string, path: string): Rule | Refusal {
    if (this.closed !== null) return this.closed;
    const agent = this.#byId.get(agentId);
    if (agent && agent.integrity !== null) return refuseIntegrity("This agent's registration");
    const destinations = this.#destinations(agentId, host, port);
    const [first] = destinations;
    const name = agent?.name ?? 'NAME';
    if (!first) {
      const why = this.destination(agentId, host, port) === 'other-port' ? 'other-port' : 'none';
      return refuseDestination(name, host, port, why);
    }
    if (destinations.some((each) => each.dependsOnPath) && !this.#pathIsUnambiguous(path)) {
      return refuseAmbiguousPath(host);
    }
    for (const destination of destinations) {
      const rules = destination.best(method, path);
      const [rule] = rules;
      if (!rule) continue;
      if (rules.some((each) => each.integrity !== null)) return refuseIntegrity('The grant for this request');
      if (rules.some((each) => each.credential !== rule.credential)) return refuseTie(host);
      return rule;
    }
    return refuseRequest(name, first.rules[0]?.service ?? 'SERVICE', method, host, path);
  }

  /** Every destination that covers the host and port, most specific first. */
  #destinations(agentId: string, host: string, port: number): Destination[] {
    const hosts = this.#hosts.get(agentId);
    const found: Destination[] = [];
    if (!hosts) return found;
    for (const pattern of patternsOf(host, hosts.wildcards)) {
      const destination = hosts.patterns.get(pattern)?.get(port);
      if (destination) found.push(destination);
    }
    return found;
  }

  #add(rule: Rule): void {
    let hosts = this.#hosts.get(rule.agent);
    if (!hosts) {
      hosts = { patterns: new Map(), ports: new Set(), wildcards: false };
      this.#hosts.set(rule.agent, hosts);
    }
    for (const host of rule.hosts) {
      if (host.pattern.startsWith('*')) hosts.wildcards = true;
      hosts.ports.add(host.port);
      let ports = hosts.patterns.get(host.pattern);
      if (!ports) {
        ports = new Map();
        hosts.patterns.set(host.pattern, ports);
      }
      let destination = ports.get(host.port);
      if (!destination) {
        destination = new Destination(host.pattern, host.port);
        ports.set(host.port, destination);
      }
      destination.add(rule, host);
    }
  }
}

/** "a.b.c" → "a.b.c", "*.b.c", "**.b.c", "**.c": what may cover the host, most specific first. */
function patternsOf(host: string, wildcards: boolean): string[] {
  const patterns = [host];
  if (!wildcards) return patterns;
  for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
    const suffix = host.slice(dot);
    if (patterns.length === 1) patterns.push(`*${suffix}`);
    patterns.push(`**${suffix}`);
  }
  return patterns;
}

function closedBy({ unread, integrity }: Snapshot): Refusal | null {
  if (unread !== null) return refuseUnread(unread);
  return integrity === null ? null : refuseIntegrity('The stored policy');
}

function fill(hashes: Buffer[], slots: number): Buffer[] {
  while (hashes.length < slots) hashes.push(randomBytes(32));
  return hashes;
}
