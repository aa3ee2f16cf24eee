import { SallyportError } from '../../errors.ts';
import type { CredentialVersionsTable } from '../../store/schema.ts';
import { openInjected, type ReleasedField } from '../credentials/release.ts';
import { checkSigningScope, openSigningKey } from '../credentials/signing-key.ts';
import type { AccessTokens, ReleasedToken } from '../exchange/tokens.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { SecretRequest } from './rights.ts';
import type { CompiledGrant } from './snapshot.ts';

export interface ReleaseParts {
  readonly keyholder: KeyholderClient;
  readonly tokens: AccessTokens;
}

export interface Released {
  readonly fields: ReleasedField[];
  /** How long they are good for, where that is known. */
  readonly maxAgeMs: number | undefined;
}

/**
 * What a worker gets of a credential: the least that serves. The caller wipes the fields. Throws channel_malformed,
 * policy_denied, and what opening and exchanging throw.
 */
export async function openReleased(
  parts: ReleaseParts,
  compiled: CompiledGrant,
  version: CredentialVersionsTable,
  message: SecretRequest,
): Promise<Released> {
  const made = await exchanged(parts, compiled, version, message);
  // The key of a client certificate is shown to nobody, so that no answer can contain it.
  const secret = compiled.exchange?.kind !== 'client-certificate';
  const fields: ReleasedField[] = made ? [{ name: made.name, secret, value: made.value }] : [];
  try {
    fields.push(...(await opened(parts, compiled, version, message)));
  } catch (error) {
    made?.value.fill(0);
    throw error;
  }
  return { fields, maxAgeMs: made?.maxAgeMs };
}

/** What the rule puts into requests or, where it signs them, the key for the scope that is asked for. */
async function opened(
  { keyholder }: ReleaseParts,
  { service, credential, rule }: CompiledGrant,
  version: CredentialVersionsTable,
  { scope, host }: SecretRequest,
): Promise<ReleasedField[]> {
  const signs = rule.inject.some((inject) => inject.in === 'sigv4');
  if (signs !== (scope !== undefined)) {
    const message = 'The vault was asked for a secret in another way than its rule uses it.';
    throw new SallyportError('channel_malformed', message);
  }
  if (!scope) return openInjected(keyholder, service, credential, version, rule.inject);
  checkSigningScope(scope, host, rule.hosts);
  return openSigningKey(keyholder, service, credential, version, scope);
}

/** What is made of the credential, where a worker gets that in its place. Throws as AccessTokens does. */
async function exchanged(
  { tokens }: ReleaseParts,
  { definition, service, credential, exchange }: CompiledGrant,
  version: CredentialVersionsTable,
  { host, request, refused }: SecretRequest,
): Promise<(ReleasedToken & { readonly name: string }) | undefined> {
  if (!exchange) return undefined;
  const subject = { definition, service, credential, version, exchange };
  if (exchange.kind !== 'per-request')
    return { name: exchange.token, ...(await tokens.release(subject, refused)) };
  if (!request)
    throw new SallyportError('channel_malformed', 'The token is made for a request: none was named.');
  return { name: exchange.token, ...(await tokens.releaseFor(subject, { host, ...request })) };
}
