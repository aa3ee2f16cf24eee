import { hash } from 'node:crypto';
import { z } from 'zod';
import { DERIVED } from '../../catalog/derived.ts';
import { placeholders } from '../../catalog/template.ts';
import type { CredentialsTable, ServicesTable } from '../../store/schema.ts';

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
  const { hosts, auth, plain_http } = Destinations.parse(JSON.parse(service.definition));
  const publicFields: unknown = JSON.parse(credential.public_fields);
  // Where a token is made of it, the credential goes to the token endpoint.
  const exchanged = usesToken(auth.inject) ? { oauth2: auth.oauth2 ?? null } : {};
  const allowed = {
    hosts,
    inject: auth.inject,
    publicFields,
    ...(plain_http === true && { plain_http }),
    ...exchanged,
  };
  const destinations = hash('sha256', canonicalJson(allowed), 'buffer');
  return encodeBinding([
    'sallyport credential v1',
    'default', // the tenant
    credential.id,
    String(version),
    JSON.stringify(secretFields),
    service.id,
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
