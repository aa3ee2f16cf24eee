import { placeholders } from '../../catalog/template.ts';
import type { Rule } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { compileInjection } from '../injection/registry.ts';
import { PASSED } from '../policy/match.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { ClientIdentity } from '../upstream/client-contexts.ts';
import { identityOf, keyText, type UpstreamKey } from '../upstream/key.ts';
import { secretKey, type Worker } from '../worker.ts';
import type { AgentSide } from './agent-side.ts';
import type { Signing } from './signing.ts';

/** What stands for the lease where a request goes without a credential. */
const NO_SECRET: Lease = { fields: new Map(), release: () => {} };

/** The credential that `rule` names, where this worker has it. */
export function hotSecret(worker: Worker, rule: Rule, signing: Signing | undefined): Lease | undefined {
  if (rule === PASSED) return NO_SECRET;
  if (rule.token === 'per-request') return undefined;
  return worker.stages.secrets.get(keyOf(rule, signing));
}

/** Which connections may carry the request. */
export function upstreamKey(side: AgentSide, head: RequestHead, rule: Rule): UpstreamKey {
  if (side.lastKey?.rule === rule) return side.lastKey.key;
  const { host, port, agent, scheme, grpc } = side;
  const identity = identityOf(rule);
  const timeoutMs = rule.limits.connectTimeoutMs ?? undefined;
  // A WebSocket is begun in HTTP/1.1.
  if ((rule.http2 || grpc) && scheme === 'https' && !head.connection.includes('upgrade')) {
    return { host, port, agent, identity, http2: compileInjection(rule.inject).names, timeoutMs };
  }
  const key = { plain: scheme === 'http', host, port, agent, identity, timeoutMs };
  if (rule.http2 || grpc) return key;
  side.lastKey = { rule, key: { ...key, text: keyText(key) } };
  return side.lastKey.key;
}

/** The field that holds the client certificate which connections of the rule show; undefined where they show none. */
export function certificateField({ inject }: Rule): string | undefined {
  const shown = inject.find((each) => each.in === 'client_certificate');
  return shown && placeholders(shown.value)[0];
}

/** That certificate with its key, as long as the lease lasts. Throws credential_missing. */
export function clientIdentity(field: string, { fields }: Lease): ClientIdentity {
  const identity = fields.get(field)?.value;
  if (identity) return identity;
  throw new SallyportError(
    'credential_missing',
    `The credential lacks its ${field}, which connections to the server show: tell the owner to set it again.`,
  );
}

/**
 * The same from the vault. It is kept hot, unless it is made for this request, of its method and path. Throws what
 * VaultClient.secret throws.
 */
export async function fetchSecret(
  side: AgentSide,
  rule: Rule,
  request: { readonly method: string; readonly path: string },
  signing: Signing | undefined,
): Promise<Lease> {
  const { vault, secrets } = side.worker.stages;
  const { host, port, agent, token } = side;
  const { credential, version } = rule;
  const scope = signing && { scope: { day: signing.day, ...signing.scope } };
  const asked = { agent, rule: rule.id, credential, version, host, port, ...scope };
  if (rule.token === 'per-request') {
    return vault.secret({ ...asked, request }, token, (fields) => secrets.lend(fields));
  }
  const key = keyOf(rule, signing);
  const refused = side.worker.refusedTokens.delete(key);
  const ask = () =>
    vault.secret({ ...asked, ...(refused && { refused }) }, token, (fields, maxAgeMs) =>
      secrets.put(key, fields, maxAgeMs),
    );
  return rule.token === 'kept' ? once(side.worker, rule, ask) : ask();
}

/**
 * A token may take its server seconds to give: of the requests that wait for one, the first asks, or one agent could have
 * all that this worker may ask at a time.
 */
async function once(worker: Worker, rule: Rule, ask: () => Promise<Lease>): Promise<Lease> {
  const { awaitedTokens } = worker;
  const awaited = awaitedTokens.get(rule.id);
  if (awaited) {
    const failure = await awaited;
    const given = failure === undefined ? hotSecret(worker, rule, undefined) : undefined;
    if (given) return given;
    // What the first was refused on its own account does not hold for the others.
    if (failure instanceof SallyportError && failure.code.startsWith('exchange_')) throw failure;
    return ask();
  }
  const asking = ask();
  const settled = asking.then(
    () => undefined,
    (error: unknown) => error,
  );
  awaitedTokens.set(rule.id, settled);
  void settled.then(() => awaitedTokens.delete(rule.id));
  return asking;
}

/** The server has answered 401: a token that was made of the credential may have been taken back there. */
export function tokenRefused({ stages, refusedTokens }: Worker, { credential, version }: Rule): void {
  const key = secretKey(credential, version);
  stages.secrets.remove(key);
  refusedTokens.add(key);
}

/** A signing key is kept apart for each day, region and service. */
function keyOf({ credential, version }: Rule, signing: Signing | undefined): string {
  const key = secretKey(credential, version);
  return signing ? `${key} ${signing.day}/${signing.scope.region}/${signing.scope.service}` : key;
}

/** The credential was replaced again and again while a request was prepared. */
export function replacedAgain(): SallyportError {
  return new SallyportError(
    'credential_missing',
    'The credential was being replaced while the request was prepared, so nothing was sent: send it again.',
  );
}
