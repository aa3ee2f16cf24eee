import { hash } from 'node:crypto';
import { z } from 'zod';
import { DERIVED } from '../../catalog/derived.ts';
import { placeholders } from '../../catalog/template.ts';
import { readNames } from '../../store/columns.ts';
import type { CredentialsTable, CredentialVersionsTable, ServicesTable } from '../../store/schema.ts';

/** What of a definition decides where a credential goes. Read from the row as it is, not through the parser: its defaults may change. */
const Destinations = z.object({
  hosts: z.unknown(),
  auth: z.object({ inject: z.unknown(), oauth2: z.unknown().optional() }),
  plain_http: z.boolean().optional(),
});

/**
 * The additional data that ties a credential version's DEK and ciphertext to its place and to its destinations: moved
 * to another credential, version or service, or with hosts, injection or public fields edited, it does not open.
 */
export function credentialBinding(
  service: ServicesTable,
  credential: Pick<CredentialsTable, 'id' | 'public_fields'>,
  version: number,
  secretFields: readonly string[],
): Buffer {
  const destinations = destinationsOf(service, credential.public_fields);
  return encodeCredentialBinding(service.id, credential.id, version, secretFields, destinations);
}

/**
 * The binding of a stored version. An earlier one is bound to the destinations that it was sealed for, which are in its
 * row, whatever became of the service and the public fields; the current one to those of now, whatever its row says.
 */
export function versionBinding(
  service: ServicesTable,
  credential: CredentialsTable,
  version: CredentialVersionsTable,
): Buffer {
  const names = readNames(version.secret_fields);
  const { destinations } = version;
  if (destinations === null || version.version === credential.current_version)
    return credentialBinding(service, credential, version.version, names);
  return encodeCredentialBinding(service.id, credential.id, version.version, names, destinations);
}

/** Digest (32 bytes) of all in a definition and the public fields (JSON) that decides where a credential goes. */
export function destinationsOf(service: Pick<ServicesTable, 'definition'>, fields: string): Buffer {
  const { hosts, auth, plain_http } = Destinations.parse(JSON.parse(service.definition));
  const publicFields: unknown = JSON.parse(fields);
  // Where a token is made of it, the credential goes to the token endpoint.
  const exchanged = usesToken(auth.inject) ? { oauth2: auth.oauth2 ?? null } : {};
  const allowed = {
    hosts,
    inject: auth.inject,
    publicFields,
    ...(plain_http === true && { plain_http }),
    ...exchanged,
  };
  return hash('sha256', canonicalJson(allowed), 'buffer');
}

function encodeCredentialBinding(
  service: string,
  credential: string,
  version: number,
  secretFields: readonly string[],
  destinations: Buffer,
): Buffer {
  return encodeBinding([
    'sallyport credential v1',
    'default', // the tenant
    credential,
    String(version),
    JSON.stringify(secretFields),
    service,
    destinations,
  ]);
}

/** Whether a template names a token that is made of the credential. */
function usesToken(inject: unknown): boolean {
  return placeholders(JSON.stringify(inject)).some((name) => DERIVED.includes(name));
}

/** The same for the private key of an agent's authority: it is that agent's, and belongs to that certificate. */
export function rootKeyBinding(agent: string, certificate: Buffer): Buffer {
  return encodeBinding(['sallyport authority v1', 'default', agent, hash('sha256', certificate, 'buffer')]);
}

function encodeBinding(parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** JSON with the keys of every object sorted: one text for one value. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
