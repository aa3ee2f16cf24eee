import type { Rule } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import { isFor } from '../authority.ts';
import { findField } from '../http/find-field.ts';
import type { RequestHead } from '../http/message.ts';
import { type Refusal, refuseTokenEndpoint } from '../policy/refusal.ts';
import { isTokenEndpoint } from '../policy/token-endpoint.ts';
import type { AgentSide } from './agent-side.ts';

/**
 * Whether a request is for the host that its way in leads to, and what rule lets the agent make it there. `path`:
 * without its query. Throws what refuses it: the vault's absence, method_not_supported, misdirected_request, bad_request
 * (a Host or target that names nothing), and the policy's own refusals.
 */
export function decide(side: AgentSide, head: RequestHead, path: string, misdirected: boolean): Rule {
  const unavailable = side.worker.refusal();
  if (unavailable) throw unavailable;
  checkMethod(head);
  if (misdirected || !isFor(head, side.host, side.port, side.scheme, side.authority)) {
    throw new SallyportError(
      'misdirected_request',
      `The request names another host than the tunnel to ${side.host}: open a tunnel to the host that you mean.`,
    );
  }
  const found = match(side, head.method, path);
  if ('code' in found) throw new SallyportError(found.code, found.message);
  if (isTokenEndpoint(found, side.host, side.port, path)) {
    const { code, message } = refuseTokenEndpoint(found.service);
    throw new SallyportError(code, message);
  }
  return found;
}

/** Whether the policy in force lets the agent make it still, with the very credential that `rule` names. */
export function holdsStill(rule: Rule, side: AgentSide, head: RequestHead, path: string): boolean {
  const found = match(side, head.method, path);
  return !('code' in found) && found.credential === rule.credential && found.version === rule.version;
}

function match(side: AgentSide, method: string, path: string): Rule | Refusal {
  const { policy } = side.worker;
  return side.scheme === 'https'
    ? policy.match(side.agent, side.host, side.port, method, path)
    : policy.matchPlain(side.agent, side.host, side.port, method, path);
}

function checkMethod({ method, fields }: RequestHead): void {
  if (method === 'CONNECT' || method === 'TRACE') {
    throw new SallyportError(
      'method_not_supported',
      `${method} is not carried inside a tunnel, so nothing was sent: use another method.`,
    );
  }
  // RFC 9110, 7.6.2: such a request is to be answered on the way. Nobody on this way answers.
  if (method === 'OPTIONS' && findField(fields, 'max-forwards') >= 0) {
    const why = 'Max-Forwards is not supported, so nothing was sent: leave it out.';
    throw new SallyportError('method_not_supported', why);
  }
}
