import type { Command } from 'commander';
import { contextOf, requireDataFolder } from './context.ts';
import { examples, group } from './help.ts';
import { note, printResult, properties } from './output.ts';

const PASSPHRASE = 'read the passphrase from this file instead of the terminal or standard input';

export function addBackup(root: Command): void {
  const backup = group(root, 'backup', 'Back up the vault, check a backup, put one back');
  backup.addHelpText(
    'after',
    examples('sallyport backup create vault.backup', 'sallyport backup verify vault.backup'),
  );

  backup
    .command('create')
    .description('Write a snapshot of the store, signed by the HSM; useless without the HSM')
    .argument('<file>', 'where it goes; nothing may be there')
    .option('--with-token', 'add the SoftHSM token and its PIN, sealed with a passphrase')
    .option('--pin-file <file>', 'where the PIN is (default: where init put it)')
    .option('--passphrase-file <file>', PASSPHRASE)
    .addHelpText(
      'after',
      `
A hardware token is cloned by its vendor's tool: see hsm/README.md. Journals are not part of a backup.
${examples('sallyport backup create vault.backup', 'sallyport backup create full.backup --with-token')}`,
    )
    .action(async (file: string, options, command: Command) => {
      const context = contextOf(command);
      requireDataFolder(context);
      const { createBackup } = await import('./backup-create.ts');
      const made = await createBackup(context, file, options);
      printResult(context.json, made, () => describe(made));
      note(
        `Keep the audit key apart from the backup (it shows that a backup is yours): ${made.auditPublicKey}`,
      );
    });

  backup
    .command('verify')
    .description("Check a backup's signature and that every byte is there; exit code 1 where not")
    .argument('<file>')
    .option(
      '--audit-key <hex>',
      "the key that must have signed it (default: the data folder's, where there is one)",
    )
    .addHelpText('after', examples('sallyport backup verify vault.backup'))
    .action(async (file: string, options: { auditKey?: string }, command: Command) => {
      const context = contextOf(command);
      const { verifyBackup } = await import('./backup-read.ts');
      const found = await verifyBackup(context, file, options.auditKey);
      printResult(context.json, found, () => describe(found));
      if (!found.trusted)
        note(
          'It is whole, but nothing here says whose it is: compare the audit key, or name it with --audit-key.',
        );
    });

  backup
    .command('restore')
    .description('Put a backup back into a stopped data folder, or make the folder anew')
    .argument('<file>')
    .option('--audit-key <hex>', 'the key that must have signed it, where the data folder is gone')
    .option('--pin-file <file>', "where a restored token's PIN goes (default: where init put it)")
    .option('--passphrase-file <file>', PASSPHRASE)
    .addHelpText(
      'after',
      `
Where the data folder is there, its token stays and only the database is replaced. The HSM still names the newer state:
start "sallyport serve" and say that this is what you want with "sallyport integrity accept".
${examples('sallyport backup restore vault.backup', 'sallyport --data /srv/sallyport backup restore full.backup')}`,
    )
    .action(async (file: string, options, command: Command) => {
      const context = contextOf(command);
      const { restoreBackup } = await import('./backup-restore.ts');
      const restored = await restoreBackup(context, file, options);
      printResult(context.json, restored, () =>
        properties([
          ['data folder', restored.data],
          ['token', restored.token ? 'restored' : 'as it was'],
          ['state', `${restored.state.counter} of ${restored.created}`],
        ]),
      );
      note(
        `Next: sallyport serve --data ${restored.data}, then sallyport --data ${restored.data} integrity accept`,
      );
    });
}

function describe(backup: {
  readonly file: string;
  readonly created: string;
  readonly state: { readonly counter: number };
  readonly holds: { readonly agents: number; readonly credentials: number; readonly grants: number };
  readonly token: boolean;
  readonly fingerprint: string;
}): string {
  const { agents, credentials, grants } = backup.holds;
  return properties([
    ['file', backup.file],
    ['created', backup.created],
    ['state', String(backup.state.counter)],
    ['holds', `${agents} agents, ${credentials} credentials, ${grants} grants`],
    ['token', backup.token ? 'sealed with a passphrase' : 'not in it'],
    ['signed by', `audit key ${backup.fingerprint}`],
  ]);
}
