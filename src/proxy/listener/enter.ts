import { SallyportError } from '../../errors.ts';
import type { Authority } from '../http/target.ts';
import { Passage } from '../passage.ts';
import type { Destination, PolicyAgent, PolicyTable } from '../policy/match.ts';
import { type Refusal, refuseDestination, refuseIntegrity } from '../policy/refusal.ts';
import { asSallyportError } from '../problem.ts';
import { Tunnel } from '../tunnel/tunnel.ts';
import type { Approach } from './approach.ts';
import { known, requireServing } from './entrant.ts';
import { enterPlainAt } from './plain.ts';
import type { Identity } from './proxy-credentials.ts';

const HTTP_PORT = 80;
const HANDSHAKE = 22;
const NOTHING = Buffer.alloc(0);

/** What is said when the way is open (nothing where it has been said), and what came with the request for it. */
export interface Opening {
  readonly established: Buffer;
  readonly rest: Buffer;
}

/**
 * Makes of an approach the connection that it asks for: its TLS ended here where a rule names the host, passed on where
 * the agent may do without. Takes the token over unless it throws, which it does where the agent may not go there.
 */
export async function enter(
  approach: Approach,
  who: Identity,
  to: Authority,
  { established, rest }: Opening,
): Promise<void> {
  const { worker } = approach;
  for (;;) {
    const { policy } = worker;
    const agent = known(policy, who);
    const at = { agent, token: who.token, ...to };
    requireServing(worker);
    if (policy.passes(agent.id, to.host, to.port)) {
      return pass(approach, new Passage(worker, at), { established, rest });
    }
    const destination = requireDestination(policy, agent, to);
    if (mayBePlain(destination)) {
      if (established.length > 0) {
        const first = await approach.firstBytes(established, rest, ({ length }) => length > 0);
        return enter(approach, who, to, { established: NOTHING, rest: first });
      }
      if (rest[0] !== HANDSHAKE)
        return enterPlainAt(approach, { ...who, agent }, to, false, { established, rest });
    }
    const context = await worker.stages.leaves.context(agent, to.host, to.port, who.token);
    if (worker.policy !== policy) continue; // rights may have gone while the certificate was made
    const tunnel = new Tunnel(worker, at);
    worker.admit(tunnel);
    const socket = approach.handOver(established, rest);
    return socket ? tunnel.open(socket, context) : tunnel.destroy();
  }
}

/** Whether requests without TLS may come here: then the first byte tells. */
function mayBePlain({ port, rules }: Destination): boolean {
  return port === HTTP_PORT || rules.some(({ plainHttp }) => plainHttp);
}

async function pass(approach: Approach, passage: Passage, { established, rest }: Opening): Promise<void> {
  approach.worker.admit(passage);
  try {
    await passage.connect('CONNECT');
  } catch (error) {
    return approach.deny(asSallyportError(error));
  }
  const socket = approach.handOver(established, rest);
  return socket ? passage.open(socket) : passage.destroy('client_closed');
}

/** Throws unless a rule of the agent names that host and port. */
function requireDestination(policy: PolicyTable, agent: PolicyAgent, { host, port }: Authority): Destination {
  const refused = ({ code, message }: Refusal): SallyportError => new SallyportError(code, message);
  if (policy.closed !== null) throw refused(policy.closed);
  if (agent.integrity !== null) throw refused(refuseIntegrity("This agent's registration"));
  const found = policy.destination(agent.id, host, port);
  if (typeof found === 'string') throw refused(refuseDestination(agent.name, host, port, found));
  return found;
}
