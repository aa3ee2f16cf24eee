import type { Rule } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { type CompiledInjection, compileInjection } from '../injection/registry.ts';
import { signatureLines } from '../injection/sigv4.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import { type Payload, payloadOf } from '../sigv4/payload.ts';
import { readClaim, type Scope, scopeOf } from '../sigv4/scope.ts';
import { sign } from '../sigv4/sign.ts';
import type { AgentSide } from './agent-side.ts';

/** What a request is signed for, where its rule signs (AWS Signature Version 4). */
export interface Signing {
  readonly scope: Scope;
  /** YYYYMMDD in UTC: a signing key is good for a day. */
  readonly day: string;
  readonly payload: Payload;
  readonly presigned: boolean;
}

/** Undefined where the rule does not sign. Throws bad_request, policy_denied, injection_unsupported. */
export function signingOf(side: AgentSide, head: RequestHead, rule: Rule): Signing | undefined {
  const [inject] = rule.inject;
  if (inject?.in !== 'sigv4') return undefined;
  const { presignedBy } = readClaim(head);
  if (presignedBy !== undefined && presignedBy !== inject.placeholder) {
    throw new SallyportError(
      'bad_request',
      'The URL is presigned with a key of its own, which would be replaced: fetch it without Sallyport, or presign with the placeholder key.',
    );
  }
  const named = rule.hosts.some(({ pattern }) => pattern === side.host);
  const scope = scopeOf(head, side.host, named);
  const payload = payloadOf(head, scope.service, side.scheme);
  return { scope, day: timestamp().slice(0, 8), payload, presigned: presignedBy !== undefined };
}

/** What goes into the request: the rule's injection, or the signature of this very request. */
export interface Outgoing {
  readonly injection: CompiledInjection;
  /** Another target than the agent's. */
  readonly target: Buffer | undefined;
}

/** `bodyHash`: hex, where the body had to be read for it. Throws credential_missing, injection_unsupported. */
export function outgoingInjection(
  side: AgentSide,
  head: RequestHead,
  rule: Rule,
  signing: Signing | undefined,
  lease: Lease,
  bodyHash: string | undefined,
): Outgoing {
  if (!signing) return { injection: compileInjection(rule.inject), target: undefined };
  const { scope, day, payload, presigned } = signing;
  const accessKeyId = lease.fields.get('access_key_id')?.value.toString('latin1');
  const signingKey = lease.fields.get('signing_key')?.value;
  const hash = payload.hash ?? bodyHash;
  if (accessKeyId === undefined || signingKey === undefined || hash === undefined) {
    throw new SallyportError(
      'credential_missing',
      'The credential lacks a field that a signature needs: tell the owner to set it again.',
    );
  }
  const now = timestamp();
  const sessionToken = lease.fields.get('session_token')?.value;
  const signed = sign({
    head,
    authority: side.authority,
    scope,
    payload: hash,
    sayPayload: !payload.sent,
    presigned,
    accessKeyId,
    signingKey,
    sessionToken,
    // Begun just before midnight it is signed with the key of that day, at its last second.
    date: now.startsWith(day) ? now : `${day}T235959Z`,
  });
  return { injection: signatureLines(signed, sessionToken), target: signed.target };
}

/** YYYYMMDDTHHMMSSZ, now. */
function timestamp(): string {
  return `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
}
