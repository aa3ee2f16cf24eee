import { createHash, timingSafeEqual } from 'node:crypto';
import type { z } from 'zod';
import type { Reply } from '../../channel/channel.ts';
import { FromWorker, type LeafReply, type SecretReply } from '../../channel/messages/worker.ts';
import { SallyportError } from '../../errors.ts';
import { RateLimit } from '../../rate-limit.ts';
import type { AgentsTable, CredentialVersionsTable } from '../../store/schema.ts';
import { authorityName } from '../agents/roots.ts';
import type { Ledger } from '../audit/ledger.ts';
import type { Issuer } from '../authorities/issuer.ts';
import type { ProxyAuthority } from '../authorities/proxy-authority.ts';
import type { AccessTokens } from '../exchange/tokens.ts';
import type { KeyholderClient } from '../keyholder.ts';
import type { Policy } from '../policy/policy.ts';
import type { Issuers } from './issuers.ts';
import { JournalHeads } from './journal-heads.ts';
import { openReleased } from './released.ts';
import { covers, denied, requireRight, type SecretRequest } from './rights.ts';
import { type CompiledGrant, issuedHosts, type SnapshotCompiler } from './snapshot.ts';
import { TicketKeys } from './tickets.ts';

type LeafRequest = Extract<FromWorker, { type: 'leaf' }>;
type ListenerLeafRequest = Extract<FromWorker, { type: 'listener-leaf' }>;
type Asked = LeafRequest | ListenerLeafRequest | SecretRequest;

/** Requests of one worker that may be unanswered at once: a captured one must not be able to occupy the vault. */
const IN_FLIGHT = 256;
/** An SPKI of P-256 has 91 bytes. */
const MAX_SPKI = 512;
const MAX_TOKEN = 512;

export interface DeskParts {
  readonly policy: Policy;
  readonly compiler: SnapshotCompiler;
  readonly keyholder: KeyholderClient;
  readonly issuers: Issuers;
  readonly proxyAuthority: ProxyAuthority;
  readonly ledger: Ledger;
  /** Certificates that an agent may have made, in all workers together. */
  readonly leavesPerMinute: number;
  readonly tokens: AccessTokens;
}

/**
 * Where workers ask for what they must not keep. Nothing that a worker says is taken on trust: each request shows the
 * token of the agent that it is for, and the vault looks the right up itself (promise 3). Every release and every
 * refusal is in the journal before it is answered.
 */
export class Desk {
  readonly #parts: DeskParts;
  readonly #tickets = new TicketKeys();
  readonly #leafRate: RateLimit;

  constructor(parts: DeskParts) {
    const { leavesPerMinute } = parts;
    this.#parts = parts;
    this.#leafRate = new RateLimit({
      perSecond: leavesPerMinute / 60,
      burst: leavesPerMinute,
      maxWaitMs: 0,
    });
  }

  /** Answers for the worker of that name and journal; each worker gets counters of its own. */
  serve(worker: string, journal: string): (header: unknown, parts: readonly Buffer[]) => Promise<Reply> {
    const heads = new JournalHeads(this.#parts.ledger, worker, journal);
    let inFlight = 0;
    return async (header, parts) => {
      const message = readMessage(header);
      if (message.type === 'head') {
        await heads.take(message);
        return { header: {} };
      }
      if (inFlight >= IN_FLIGHT) {
        throw new SallyportError(
          'rate_limited',
          `More than ${IN_FLIGHT} requests of this worker are unanswered.`,
        );
      }
      inFlight += 1;
      try {
        if (message.type === 'leaf') return await this.#leaf(worker, message, parts);
        if (message.type === 'listener-leaf') return await this.#listenerLeaf(worker, message, parts);
        return await this.#secret(worker, message, parts);
      } finally {
        inFlight -= 1;
      }
    };
  }

  #leaf(worker: string, message: LeafRequest, parts: readonly Buffer[]): Promise<Reply> {
    const token = tokenDigest(parts[0]); // before the first await: parts do not outlive it
    const spki = Buffer.from(parts[1]?.subarray(0, MAX_SPKI) ?? []);
    return this.#decided(worker, message, async () => {
      const { agent, issuer } = this.#issuer(message, token);
      this.#admit(agent.id);
      const { chainPem, notAfter } = await issuer.leaf(message.host, spki).catch((error: unknown) => {
        if (!(error instanceof SallyportError) || error.code !== 'vault_unavailable') throw error;
        // Its grants have changed meanwhile, so that it was closed: the one for the new ones, if they allow it still.
        return this.#issuer(message, token).issuer.leaf(message.host, spki);
      });
      await this.#released(worker, message, { notAfter });
      const tickets = this.#tickets.derive(agent.id, authorityName(agent), message.host, message.port);
      return { header: { notAfter } satisfies z.infer<typeof LeafReply>, parts: [chainPem, tickets] };
    });
  }

  /** What makes the agent's certificates. Throws policy_denied, integrity_failed. */
  #issuer(message: LeafRequest, token: Buffer | undefined): { agent: AgentsTable; issuer: Issuer } {
    const agent = this.#authenticate(message.agent, token);
    const rules = this.#parts.compiler.grantsOf(agent.id).map(({ rule }) => rule);
    if (!rules.some((rule) => covers(rule, message.host, message.port))) {
      throw denied(`${agent.name} has no grant for ${message.host}:${message.port}`);
    }
    return { agent, issuer: this.#parts.issuers.of(agent, issuedHosts(rules)) };
  }

  #listenerLeaf(worker: string, message: ListenerLeafRequest, parts: readonly Buffer[]): Promise<Reply> {
    const spki = Buffer.from(parts[0]?.subarray(0, MAX_SPKI) ?? []);
    return this.#decided(worker, message, async () => {
      const { chainPem, notAfter } = await this.#parts.proxyAuthority.leaf(spki);
      await this.#released(worker, message, { notAfter });
      return { header: { notAfter } satisfies z.infer<typeof LeafReply>, parts: [chainPem] };
    });
  }

  #secret(worker: string, message: SecretRequest, parts: readonly Buffer[]): Promise<Reply> {
    const token = tokenDigest(parts[0]);
    return this.#decided(worker, message, async () => {
      const right = (): { compiled: CompiledGrant; row: CredentialVersionsTable } => {
        const agent = this.#authenticate(message.agent, token);
        return requireRight(agent, this.#parts.compiler.grant(message.rule), message);
      };
      const { compiled, row } = right();
      const { fields: released, maxAgeMs } = await openReleased(this.#parts, compiled, row, message);
      try {
        await this.#released(worker, message, {});
        right(); // it may have been taken away while the HSM worked
      } catch (error) {
        for (const { value } of released) value.fill(0);
        throw error;
      }
      const fields = released.map(({ name, secret }) => ({ name, secret }));
      return {
        header: {
          fields,
          ...(maxAgeMs !== undefined && { maxAgeMs: Math.floor(maxAgeMs) }),
        } satisfies z.infer<typeof SecretReply>,
        parts: released.map(({ value }) => value),
      };
    });
  }

  /** Counts a certificate made for the agent, for whichever worker. Throws rate_limited. */
  #admit(agent: string): void {
    if (this.#leafRate.take(agent, performance.now()) !== undefined) return;
    throw new SallyportError(
      'rate_limited',
      'This agent opens connections to new hosts too fast: use those that it has, or try again in a minute.',
    );
  }

  /** The agent of that id, where `digest` is of one of its tokens. Throws policy_denied, integrity_failed. */
  #authenticate(id: string, digest: Buffer | undefined): AgentsTable {
    const { policy, compiler } = this.#parts;
    if (policy.integrity !== null) throw new SallyportError('integrity_failed', policy.integrity);
    const agent = policy.state.agent(id);
    let known = false;
    for (const hash of agent && digest ? compiler.tokenHashes(agent) : []) {
      if (digest && timingSafeEqual(hash, digest)) known = true;
    }
    if (!agent || !known) throw denied("the token shown is not that agent's");
    return agent;
  }

  /** Runs `decide`; a refusal is journalled before it is passed on. */
  async #decided(worker: string, message: Asked, decide: () => Promise<Reply>): Promise<Reply> {
    try {
      return await decide();
    } catch (error) {
      const code = error instanceof SallyportError ? error.code : 'internal';
      const why = error instanceof Error ? error.message : String(error);
      await this.#parts.ledger.record('refusal', message.type, subjectOf(message), {
        ...facts(worker, message),
        code,
        why,
      });
      throw error;
    }
  }

  #released(worker: string, message: Asked, more: Record<string, number>): Promise<void> {
    return this.#parts.ledger.record('release', message.type, subjectOf(message), {
      ...facts(worker, message),
      ...more,
    });
  }
}

function readMessage(header: unknown): FromWorker {
  const parsed = FromWorker.safeParse(header);
  if (parsed.success) return parsed.data;
  throw new SallyportError('channel_malformed', 'The vault was sent a message that it does not know.');
}

function tokenDigest(token: Buffer | undefined): Buffer | undefined {
  return token && token.length <= MAX_TOKEN ? createHash('sha256').update(token).digest() : undefined;
}

/** Whom a release is to: an agent, or the proxy itself. */
function subjectOf(message: Asked): string {
  return message.type === 'listener-leaf' ? 'proxy' : message.agent;
}

function facts(worker: string, message: Asked) {
  if (message.type === 'listener-leaf') return { worker };
  const { host, port } = message;
  if (message.type === 'leaf') return { worker, host, port };
  const { rule, credential, version, request, scope } = message;
  const signs = scope && { scope: `${scope.day}/${scope.region}/${scope.service}` };
  return { worker, host, port, rule, credential, version, ...request, ...signs };
}
