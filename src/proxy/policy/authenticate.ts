import { hash, timingSafeEqual } from 'node:crypto';
import type { PolicyAgent, PolicyTable } from './match.ts';

/**
 * The agent called `name`, where `token` (its bytes as presented) is one of its valid tokens. An unknown name costs
 * the same hash and as many comparisons as a known one. The caller wipes `token`. Looks at no `integrity`: a changed
 * agent is refused by `PolicyTable.match`, with the reason.
 */
export function authenticate(table: PolicyTable, name: string, token: Buffer): PolicyAgent | undefined {
  const digest = hash('sha256', token, 'buffer');
  const agent = table.agentByName(name);
  let equal = 0;
  for (const known of agent?.tokenHashes ?? table.strangerHashes)
    equal |= Number(timingSafeEqual(known, digest));
  return equal === 1 ? agent : undefined;
}
