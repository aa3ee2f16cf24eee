import type { Rule } from '../../channel/messages/policy.ts';
import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import type { Intent } from '../journal/request-journal.ts';
import { PASSED } from '../policy/match.ts';
import type { AgentSide } from './agent-side.ts';

type Then = (error?: SallyportError) => void;

/** What stands for a credential where a request goes without one. */
const WITHOUT = { service: null, credential: null, version: null };

/** Records a request that `rule` lets through; returns the record's id. `then`: once it is in the file (promise 5). */
export function recordIntent(
  side: AgentSide,
  head: RequestHead,
  path: string,
  rule: Rule,
  then: Then,
): number {
  const intent: Intent = {
    agent: side.agentName,
    method: head.method,
    host: side.host,
    port: side.port,
    path,
    ...(rule === PASSED
      ? WITHOUT
      : { service: rule.service, credential: rule.credential, version: rule.version }),
    decision: rule === PASSED ? 'passed' : 'injected',
    reason: rule.id,
  };
  return side.worker.stages.journal.intent(intent, then);
}

/** Records a request of which nothing is forwarded. `then`: only then is it answered. */
export function recordRefusal(
  side: AgentSide,
  head: RequestHead,
  path: string,
  error: SallyportError,
  then: Then,
): void {
  const asked = { agent: side.agentName, method: head.method, host: side.host, port: side.port, path };
  side.worker.stages.journal.refusal(asked, error, then);
}
