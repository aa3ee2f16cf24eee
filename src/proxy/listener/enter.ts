import { setTimeout as delay } from 'node:timers/promises';
import { SallyportError } from '../../errors.ts';
import type { Authority } from '../http/target.ts';
import { Passage } from '../passage.ts';
import { authenticate } from '../policy/authenticate.ts';
import type { PolicyAgent, PolicyTable } from '../policy/match.ts';
import { type Refusal, refuseDestination, refuseIntegrity } from '../policy/refusal.ts';
import { asSallyportError } from '../problem.ts';
import { Tunnel } from '../tunnel.ts';
import type { Worker } from '../worker.ts';
import type { Approach } from './approach.ts';
import type { Identity } from './proxy-credentials.ts';

/** An agent that is known, and the token by which it is. */
export interface Entrant extends Identity {
  readonly agent: PolicyAgent;
}

/** Waits until the agent may open another connection. Throws rate_limited; proxy_auth_required where it has gone. */
export async function takeTurn(worker: Worker, who: Identity): Promise<Entrant> {
  const wait = worker.turn(known(worker.policy, who).id);
  if (wait > 0) await delay(wait);
  return { ...who, agent: known(worker.policy, who) };
}

/**
 * Makes of an approach the tunnel that it asks for, `established` answered before its first byte. Takes the token over
 * unless it throws, which it does where the agent may not go there.
 */
export async function enter(
  approach: Approach,
  who: Identity,
  to: Authority,
  established: Buffer,
  rest: Buffer,
): Promise<void> {
  const { worker } = approach;
  for (;;) {
    const { policy } = worker;
    const agent = known(policy, who);
    const at = { agent, token: who.token, ...to };
    requireServing(worker);
    if (policy.passes(agent.id, to.host, to.port))
      return pass(approach, new Passage(worker, at), established, rest);
    requireDestination(policy, agent, to);
    const context = await worker.stages.leaves.context(agent.id, to.host, to.port, who.token);
    if (worker.policy !== policy) continue; // rights may have gone while the certificate was made
    const tunnel = new Tunnel(worker, at);
    worker.admit(tunnel);
    const socket = approach.handOver(established, rest);
    return socket ? tunnel.open(socket, context) : tunnel.destroy();
  }
}

async function pass(approach: Approach, passage: Passage, established: Buffer, rest: Buffer): Promise<void> {
  approach.worker.admit(passage);
  try {
    await passage.connect('CONNECT');
  } catch (error) {
    return approach.deny(asSallyportError(error));
  }
  const socket = approach.handOver(established, rest);
  return socket ? passage.open(socket) : passage.destroy('client_closed');
}

function known(policy: PolicyTable, { name, token }: Identity): PolicyAgent {
  const agent = authenticate(policy, name, token);
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

/** Throws unless a rule of the agent names that host and port. */
function requireDestination(policy: PolicyTable, agent: PolicyAgent, { host, port }: Authority): void {
  const refuse = ({ code, message }: Refusal): never => {
    throw new SallyportError(code, message);
  };
  if (policy.integrity !== null) refuse(refuseIntegrity('The stored policy'));
  if (agent.integrity !== null) refuse(refuseIntegrity("This agent's registration"));
  const found = policy.destination(agent.id, host, port);
  if (typeof found === 'string') refuse(refuseDestination(agent.name, host, port, found));
}
