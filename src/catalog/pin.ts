import { SallyportError } from '../errors.ts';
import { type HostPort, hostMatches, parseHostPort } from './host.ts';
import type { Service } from './service.ts';
import { placeholders } from './template.ts';

/** A credential's fields that are not secret, by key. */
export type PublicFields = Readonly<Record<string, string>>;

/** Keys of fields that hold a host name, and of fields that hold the one label which names a tenant. */
const HOST_FIELD = /(?:^|_)(?:host|hostname|domain)$/;
const LABEL_FIELD = /^(?:subdomain|organization|tenant|workspace|account|shop)$/;

/**
 * The hosts that a credential belongs to, where the service's hosts are wildcards: under "*.example.com" lives the
 * attacker's own tenant too, and must not be sent this one's credential. A public field whose value lies under a
 * wildcard names such a host, and so does a tenant's label before the wildcard's suffix. Null where the credential
 * says nothing of the kind and the wildcards hold as they are.
 * Throws invalid_credential where a field for the host is missing, or names a host that is not the service's.
 */
export function pinnedHosts(service: Service, publicFields: PublicFields): HostPort[] | null {
  const wildcards = service.hosts.map(({ pattern }) => pattern).filter((pattern) => pattern.startsWith('*'));
  if (wildcards.length === 0) return null;
  const pins: HostPort[] = [];
  let pinned = false;
  for (const { key, secret, optional } of service.fields) {
    if (secret) continue;
    const isHost = HOST_FIELD.test(key);
    const value = publicField(publicFields, key);
    if (value === undefined) {
      if (isHost && !optional) throw refused(service, `the field ${key} is missing`);
      continue;
    }
    const named = parseHostPort(value);
    if (named !== null && wildcards.some((pattern) => hostMatches(pattern, named.host))) {
      pins.push(named);
      pinned = true;
    } else if (isHost) {
      if (named === null || !standsAlone(service, key, named.host)) {
        throw refused(service, `the field ${key} must be a host under ${wildcards.join(' or ')}`);
      }
      pinned = true;
    } else if (LABEL_FIELD.test(key)) {
      pins.push(...tenantHosts(wildcards, value));
      pinned = pins.length > 0;
    }
  }
  return pinned ? pins : null;
}

/** The field's value, or undefined where it is absent or empty. */
export function publicField(publicFields: PublicFields, key: string): string | undefined {
  return Object.hasOwn(publicFields, key) && publicFields[key] !== '' ? publicFields[key] : undefined;
}

/** One line on why a credential does not fit its service. */
export function refused(service: Service, why: string): SallyportError {
  return new SallyportError(
    'invalid_credential',
    `The credential for ${service.id} is refused: ${why}. Set it again.`,
  );
}

/** Whether the host of that field is a destination of the service without any wildcard. */
function standsAlone(service: Service, key: string, host: string): boolean {
  return service.hosts.some(({ pattern }) => pattern === host || placeholders(pattern).includes(key));
}

function tenantHosts(wildcards: readonly string[], label: string): HostPort[] {
  if (/[.:]/.test(label)) return [];
  return wildcards.flatMap((pattern) => parseHostPort(label + pattern.replace(/^\*+/, '')) ?? []);
}
