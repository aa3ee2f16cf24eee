import type { Command } from 'commander';
import type { VerifyOptions } from './backup-verify.ts';
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
    .option(
      '--passphrase-file <file>',
      'with the passphrase of its token: opens that, and logs in to a copy of it with the PIN that is beside it',
    )
    .addHelpText(
      'after',
      examples(
        'sallyport backup verify vault.backup',
        'sallyport backup verify full.backup --passphrase-file ./passphrase',
      ),
    )
    .action(async (file: string, options: VerifyOptions, command: Command) => {
      const context = contextOf(command);
      const { verifyBackup } = await import('./backup-verify.ts');
      const found = await verifyBackup(context, file, options);
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
    .option(
      '--audit-key <hex>',
      'the key that must have signed it; a data folder that is there knows its own',
    )
    .option('--pin-file <file>', "where a restored token's PIN goes (default: where init put it)")
    .option('--passphrase-file <file>', PASSPHRASE)
    .option(
      '--pkcs11-module <file>',
      "the HSM's PKCS#11 library, where it lies elsewhere here (a folder made anew)",
    )
    .option('--pkcs11-token <label>', 'use this token, a copy of the one that was lost (a folder made anew)')
    .option('--pkcs11-serial <serial>', 'its serial number, where two carry that label')
    .addHelpText(
      'after',
      `
Where the data folder is there, its token stays and only the database is replaced; the old one is kept beside it under a
dated name: remove it once you need it no more, since it holds what was sealed then. Otherwise the folder is made anew, also
in an empty one. The HSM still names the newer state: start "sallyport serve" and say that this is what you want with
"sallyport integrity accept".
${examples(
  'sallyport backup restore vault.backup',
  'sallyport --data /srv/sallyport backup restore full.backup',
  'sallyport --data /srv/sallyport backup restore vault.backup --audit-key 04… --pkcs11-token CLONE --pin-file /etc/sallyport/pin',
)}`,
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
          ['signed by', `audit key ${restored.fingerprint}`],
          ...(restored.kept === null ? [] : [['kept', `${restored.kept}: what was there before`] as const]),
        ]),
      );
      if (!restored.trusted)
        note(
          'Nothing here but the passphrase says whose backup it is: compare the audit key with the one that "backup create" showed.',
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
  readonly tokenChecked: 'opens' | 'proven' | null;
  readonly fingerprint: string;
}): string {
  const { agents, credentials, grants } = backup.holds;
  return properties([
    ['file', backup.file],
    ['created', backup.created],
    ['state', String(backup.state.counter)],
    ['holds', `${agents} agents, ${credentials} credentials, ${grants} grants`],
    ['token', describeToken(backup)],
    ['signed by', `audit key ${backup.fingerprint}`],
  ]);
}

function describeToken({ token, tokenChecked }: { token: boolean; tokenChecked: string | null }): string {
  if (!token) return 'not in it';
  if (tokenChecked === 'proven') return 'opens with the passphrase, and has the PIN and the keys';
  if (tokenChecked === 'opens')
    return 'opens with the passphrase; its PIN was not tried, for want of its library here';
  return 'sealed with a passphrase';
}
