import type { Injection, RuleHost } from '../channel/messages/policy.ts';
import { type ServiceInject, SIGV4 } from './check.ts';
import { DERIVED } from './derived.ts';
import { exchangeNeeds, exchangeOf, exchangeUrl } from './exchange.ts';
import { headerNameProblem } from './header-name.ts';
import { type HostPort, hostMatches, parseHostPattern } from './host.ts';
import { splitPaths } from './path-pattern.ts';
import { type PublicFields, pinnedHosts, publicField, refused } from './pin.ts';
import type { Service } from './service.ts';
import { fill, placeholders } from './template.ts';

/** What a grant of a service becomes: some of its hosts, and how the credential is written there. */
export interface Target {
  readonly hosts: RuleHost[];
  readonly inject: Injection[];
}

/**
 * The targets of a service for one credential: usually one; more where the catalog gives some hosts an alternative
 * of their own (GitHub's API takes a bearer token, its git server Basic). Parameters and errors as below.
 */
export function compileTargets(
  service: Service,
  publicFields: PublicFields,
  secretFields?: readonly string[],
): Target[] {
  const special = service.alternatives.filter(({ hosts }) => hosts !== undefined && hosts.length > 0);
  const named = special.flatMap(({ hosts }) => hosts ?? []);
  const parts = [
    { ...service, hosts: service.hosts.filter(({ pattern }) => !named.includes(pattern)) },
    ...special.map(({ hosts, scheme, inject }) => ({
      ...service,
      hosts: service.hosts.filter(({ pattern }) => hosts?.includes(pattern)),
      auth: { ...service.auth, scheme, inject },
    })),
  ];
  return parts
    .filter(({ hosts }) => hosts.length > 0)
    .map((part) => ({
      hosts: compileHosts(part, publicFields),
      inject: compileInjection(part, publicFields, secretFields),
    }));
}

/**
 * All destinations of a service for one credential: `{field}` patterns filled in, wildcards pinned to the hosts that
 * the credential names (pin.ts), the entries for one host merged, so that each host and port stands once. No path
 * pattern: every path. Throws invalid_credential where a field that a host needs is missing or is no host.
 */
export function compileHosts(service: Service, publicFields: PublicFields): RuleHost[] {
  const pins = pinnedHosts(service, publicFields);
  const merged = new Map<string, RuleHost>();
  for (const entry of service.hosts) {
    for (const { host, port: named } of destinations(service, entry, publicFields, pins)) {
      const port = named ?? entry.port;
      const key = `${host} ${port}`;
      const known = merged.get(key);
      const paths = splitPaths(entry.path_prefix);
      const every = paths.length === 0 || known?.paths.length === 0;
      merged.set(key, {
        pattern: host,
        port,
        paths: every ? [] : [...new Set([...(known?.paths ?? []), ...paths])],
      });
    }
  }
  if (merged.size === 0) throw refused(service, 'none of its fields names a host of the service');
  return [...merged.values()];
}

/**
 * How a worker writes the credential. Header names are filled in here; values stay templates, which the worker fills
 * with bytes. `secretFields` names the secret fields that this credential has (unless given: all that the service
 * declares): a place that only absent optional fields would fill is left out, beside others they count as empty.
 * Throws invalid_credential where a field is missing or cannot stand where the service puts it.
 */
export function compileInjection(
  service: Service,
  publicFields: PublicFields,
  secretFields: readonly string[] = service.fields.filter(({ secret }) => secret).map(({ key }) => key),
): Injection[] {
  const absent: string[] = [];
  for (const { key, secret, optional } of service.fields) {
    if (secret ? secretFields.includes(key) : publicField(publicFields, key) !== undefined) continue;
    if (!optional) throw refused(service, `the field ${key} is missing`);
    absent.push(key);
  }
  const exchange = exchangeOf(service);
  if (exchange) {
    exchangeUrl(service, exchange, publicFields);
    const lacking = exchangeNeeds(service, exchange).find((key) => absent.includes(key));
    if (lacking !== undefined) throw refused(service, `without the field ${lacking} no token can be had`);
  }
  const compiled = service.auth.inject.flatMap((inject) => compileOne(service, inject, publicFields, absent));
  if (compiled.length === 0) throw refused(service, 'it has none of the fields that the service sends');
  return compiled;
}

function compileOne(
  service: Service,
  given: ServiceInject,
  publicFields: PublicFields,
  absent: readonly string[],
): Injection[] {
  const inject = given.in === 'exchange' && exchangeOf(service) ? given.then : given;
  if (given.in === 'sign' && given.algorithm === SIGV4) return [signature(service, publicFields)];
  if (inject.in !== 'header' && inject.in !== 'basic' && inject.in !== 'client_certificate') {
    return [{ in: 'unsupported', kind: given.in }];
  }
  const names = (inject.in === 'basic' ? [inject.username, inject.password] : [inject.value]).flatMap(
    placeholders,
  );
  const declared = service.fields.map(({ key }) => key);
  const derived = names.filter((name) => DERIVED.includes(name) && !declared.includes(name));
  if (derived.length > 0 && !exchangeOf(service)) {
    return [{ in: 'unsupported', kind: service.auth.scheme }];
  }
  if (names.length > 0 && names.every((name) => absent.includes(name))) return [];
  if (inject.in === 'client_certificate') return [inject];
  for (const name of names) {
    // A public value goes out as it is: one with a control byte could end the field and begin another.
    if (/[\x00-\x1f\x7f]/.test(publicField(publicFields, name) ?? '')) {
      throw refused(service, `the field ${name} has a control character`);
    }
  }
  const emptied = (template: string): string =>
    fill(template, (name) => (absent.includes(name) ? '' : undefined));
  if (inject.in === 'basic') {
    const colon = placeholders(inject.username).find((name) =>
      publicField(publicFields, name)?.includes(':'),
    );
    if (colon !== undefined) throw refused(service, `the field ${colon} has a colon, which ends a user name`);
    return [{ in: 'basic', username: emptied(inject.username), password: emptied(inject.password) }];
  }
  const name = fill(inject.name, (key) => publicField(publicFields, key) ?? '');
  const problem = headerNameProblem(name);
  if (problem !== null) throw refused(service, problem);
  return [{ in: 'header', name, value: emptied(inject.value) }];
}

function signature(service: Service, publicFields: PublicFields): Injection {
  const key = service.fields.find(({ key }) => key === 'access_key_id');
  if (!/^[\w+=.@-]{1,128}$/.test(publicField(publicFields, 'access_key_id') ?? '')) {
    throw refused(service, 'the field access_key_id has a character that no access key has');
  }
  return { in: 'sigv4', placeholder: key?.placeholder_for_agent ?? null };
}

function destinations(
  service: Service,
  { pattern }: Service['hosts'][number],
  publicFields: PublicFields,
  pins: readonly HostPort[] | null,
): HostPort[] {
  const names = placeholders(pattern);
  if (names.length === 0) {
    if (!pattern.startsWith('*') || pins === null) return [{ host: pattern, port: null }];
    return pins.filter(({ host }) => hostMatches(pattern, host));
  }
  for (const name of names) {
    const value = publicField(publicFields, name);
    if (value === undefined) throw refused(service, `the field ${name} is missing`);
    if (value.includes('*')) throw refused(service, `the field ${name} must be one host, without *`);
  }
  const filled = parseHostPattern(fill(pattern, (name) => publicFields[name]));
  if (filled === null) {
    throw refused(
      service,
      `its fields do not make a host of ${pattern} (a name, and ":port" if it is not 443)`,
    );
  }
  return [filled];
}
