import type { Buffer } from 'node:buffer';
import { originForm } from '../authority.ts';
import type { RequestHead } from '../http/message.ts';
import type { CompiledInjection } from '../injection/registry.ts';
import { writeRequestHead } from '../injection/request-head.ts';
import type { Lease } from '../secrets/hot-secrets.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import type { AgentSide } from './agent-side.ts';

/** RFC 9110, 9.2.2: what may be sent again when a connection that was idle turns out to be dead. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);

/** What to look for in the answer: the secret fields as leased, and buffers of its own for the forms in which they travel. */
export interface ScrubTargets {
  readonly leased: Buffer[];
  readonly owned: Buffer[];
}

/**
 * The head that goes to the server, the credential in it: for one write on an idle, secured socket, which leaves no copy
 * behind, wiped as soon as it is encrypted. `target`: in place of the agent's. `searched`: the answer is searched for the credential.
 * `upgrade`: a WebSocket is asked for. Throws what writeRequestHead throws.
 */
export function outgoingHead(
  side: AgentSide,
  head: RequestHead,
  injection: CompiledInjection,
  target: Buffer | undefined,
  lease: Lease,
  upstream: UpstreamConnection,
  searched: boolean,
  upgrade: boolean,
): Buffer {
  return writeRequestHead({
    head,
    target: target ?? originForm(head),
    injection,
    fields: lease.fields,
    identityOnly: searched,
    upgrade,
    authority: side.authority,
    room: upstream.headRoom,
  }).bytes;
}

/** What of the credential the answer is searched for. */
export function scrubTargets(lease: Lease, injection: CompiledInjection): ScrubTargets {
  const leased: Buffer[] = [];
  for (const { value, secret } of lease.fields.values()) if (secret) leased.push(value);
  return { leased, owned: injection.scrubTargets(lease.fields) };
}

/** Whether a request may be sent twice, of which no part of a body has been sent. */
export function isRepeatable(method: string): boolean {
  return IDEMPOTENT.has(method);
}
