import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { JournalWriter } from '../audit/journal.ts';
import { Channel } from '../channel/channel.ts';
import { ToVault } from '../channel/messages/supervisor.ts';
import { SallyportError } from '../errors.ts';
import { copySecret } from '../secret-buffer.ts';
import { SupervisorClient } from './supervisor.ts';
import { Vault } from './vault.ts';

/**
 * The vault. Descriptor 0 is its journal, 3 its channel to the supervisor, which says where everything is, and 4 its
 * data folder. It holds the policy and opens what is sealed, with the HSM's help: it has no PIN and no master key.
 */
const JOURNAL_DESCRIPTOR = 0;
const CHANNEL_DESCRIPTOR = 3;
/** Without its supervisor the vault ends by then, whatever it is doing. */
const ORPHAN_MS = 1_000;

process.umask(0o177); // sockets and files for their owner alone; the vault makes no folders
const { values } = parseArgs({ options: { journal: { type: 'string' } } });
const journal = new JournalWriter(JOURNAL_DESCRIPTOR, values.journal ?? '');
let vault: Vault | undefined;
let ending = false;

const channel = Channel.fromDescriptor(CHANNEL_DESCRIPTOR, async (header, parts) => {
  const message = ToVault.parse(header);
  if (message.type === 'start') {
    const secrets = parts.map(copySecret); // before the first await: parts do not outlive it
    if (vault) throw new SallyportError('internal', 'The vault was started twice.');
    vault = await Vault.open(message, version(), journal, supervisor, secrets);
  } else if (message.type === 'connect') await started().connect(message.kind, message.name, message.journal);
  else if (message.type === 'keyholder') await started().keyholderOpened();
  else if (message.type === 'served') await started().policyServed();
  else if (message.type === 'exit') vault?.gone(message.name);
  else if (message.type === 'open') await started().listen();
  else void end();
  return { header: {} };
});
const supervisor = new SupervisorClient(channel);

channel.onClose = () => {
  setTimeout(() => process.exit(1), ORPHAN_MS);
  void end(0);
};
process.on('SIGTERM', () => void end());
process.on('SIGINT', () => {}); // Ctrl-C reaches the whole group: the supervisor decides the order

async function end(withinMs?: number): Promise<void> {
  if (ending) return;
  ending = true;
  try {
    await vault?.drain(withinMs);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`sallyport: the vault could not end in order: ${String(error)}\n`);
    process.exit(1);
  }
}

function started(): Vault {
  if (!vault) throw new SallyportError('internal', 'The vault has not been started yet.');
  return vault;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return z.object({ version: z.string() }).parse(manifest).version;
}
