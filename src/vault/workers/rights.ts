import { hostMatches } from '../../catalog/host.ts';
import type { Rule } from '../../channel/messages/policy.ts';
import type { FromWorker } from '../../channel/messages/worker.ts';
import { SallyportError } from '../../errors.ts';
import type { AgentsTable, CredentialVersionsTable } from '../../store/schema.ts';
import type { CompiledGrant } from './snapshot.ts';

export type SecretRequest = Extract<FromWorker, { type: 'secret' }>;

/** Throws policy_denied, integrity_failed, credential_missing unless the agent has exactly this right now. */
export function requireRight(
  agent: AgentsTable,
  compiled: CompiledGrant | undefined,
  message: SecretRequest,
): { compiled: CompiledGrant; row: CredentialVersionsTable } {
  const rule = compiled?.rule;
  if (!rule || rule.agent !== agent.id) throw denied(`${agent.name} has no such grant`);
  if (rule.integrity !== null) throw new SallyportError('integrity_failed', rule.integrity);
  if (!covers(rule, message.host, message.port)) {
    throw denied(`the grant does not cover ${message.host}:${message.port}`);
  }
  if (rule.credential !== message.credential || rule.version !== message.version || !compiled.version) {
    const what = `Version ${message.version} of the credential has been replaced or removed`;
    throw new SallyportError('credential_missing', `${what}: look the grant up again in the newest policy.`);
  }
  if (rule.inject.some((inject) => inject.in === 'unsupported')) {
    throw new SallyportError(
      'injection_unsupported',
      `This version cannot inject what ${rule.service} needs.`,
    );
  }
  return { compiled, row: compiled.version };
}

/** Whether the rule is for that host and port. */
export function covers(rule: Rule, host: string, port: number): boolean {
  return rule.hosts.some((each) => each.port === port && hostMatches(each.pattern, host));
}

export function denied(why: string): SallyportError {
  return new SallyportError('policy_denied', `The vault releases nothing: ${why}.`);
}
