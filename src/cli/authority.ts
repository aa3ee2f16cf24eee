import type { Context } from './context.ts';
import { listing } from './listing.ts';
import { textOf } from './reply.ts';

/** The agent's CA as PEM, from the vault or, where none runs, from the store. Throws not_found. */
export async function authorityOf(context: Context, name: string): Promise<string> {
  const path = `/v1/agents/${encodeURIComponent(name)}/ca`;
  const reply = await listing(context, path, (rows, from) => ({ pem: from.agentAuthority(rows, name) }));
  return textOf(reply, 'pem');
}
