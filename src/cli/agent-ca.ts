import { Buffer } from 'node:buffer';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Context } from './context.ts';
import { listing } from './listing.ts';
import { textOf } from './reply.ts';

/** The agent's CA as PEM, from the vault or, where none runs, from the store. Throws not_found. */
export async function authorityOf(context: Context, name: string): Promise<string> {
  const path = `/v1/agents/${encodeURIComponent(name)}/ca`;
  const reply = await listing(context, path, (rows, from) => ({ pem: from.agentAuthority(rows, name) }));
  return textOf(reply, 'pem');
}

/** Writes the agent's CA where the data folder keeps them, whole or not at all. Answers its path. */
export function writeAuthority(context: Context, name: string, pem: string): string {
  const file = authorityFile(context, name);
  mkdirSync(join(context.data, 'ca'), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, Buffer.from(pem, 'utf8'), { mode: 0o644 });
  renameSync(`${file}.new`, file);
  return file;
}

export function removeAuthority(context: Context, name: string): void {
  rmSync(authorityFile(context, name), { force: true });
}

/** The vault has accepted the name by then, or knows it: letters, digits and the like, no slash. */
function authorityFile(context: Context, name: string): string {
  return join(context.data, 'ca', `${encodeURIComponent(name)}.pem`);
}
