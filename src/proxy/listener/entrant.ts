import { setTimeout as delay } from 'node:timers/promises';
import { SallyportError } from '../../errors.ts';
import { authenticate } from '../policy/authenticate.ts';
import type { PolicyAgent, PolicyTable } from '../policy/match.ts';
import type { Worker } from '../worker.ts';
import type { Identity } from './proxy-credentials.ts';

/** An agent that is known, and the token by which it is. */
export interface Entrant extends Identity {
  readonly agent: PolicyAgent;
}

/** The agent that somebody says to be; undefined where the token is not its. Throws integrity_failed, hsm_unavailable. */
export function identify(policy: PolicyTable, { name, token }: Identity): PolicyAgent | undefined {
  if (policy.closed === null) return authenticate(policy, name, token);
  // What a changed policy says of tokens is worth no more than the rest, and one that was not read says nothing: nobody is
  // told that theirs is wrong.
  const { code, message } = policy.closed;
  throw new SallyportError(code, message);
}

/** Waits until the agent may open another connection. Throws rate_limited; proxy_auth_required where it has gone. */
export async function takeTurn(worker: Worker, who: Identity): Promise<Entrant> {
  const wait = worker.turn(known(worker.policy, who).id);
  if (wait > 0) await delay(wait);
  return { ...who, agent: known(worker.policy, who) };
}

/** An agent that was identified before, by the policy in force now. Throws proxy_auth_required where it has gone. */
export function known(policy: PolicyTable, who: Identity): PolicyAgent {
  const agent = identify(policy, who);
  if (agent) return agent;
  throw new SallyportError('proxy_auth_required', 'The token of this agent has just been replaced.');
}

/** Throws while this worker takes nothing on. */
export function requireServing(worker: Worker): void {
  if (worker.draining)
    throw new SallyportError('draining', 'The proxy is stopping: try again in a few seconds.');
  const unavailable = worker.refusal();
  if (unavailable) throw unavailable;
}
