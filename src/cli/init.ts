import { type Command, Option } from 'commander';
import { contextOf } from './context.ts';
import type { InitFlags } from './data-folder.ts';
import { examples } from './help.ts';
import { note, printResult, properties } from './output.ts';

export function addInit(root: Command): void {
  root
    .command('init')
    .description('Create the data folder: the token and the keys in it, and the database')
    .option('--pkcs11-module <file>', "the HSM's PKCS#11 library (default: SoftHSM, where it is installed)")
    .option('--pkcs11-token <label>', 'use this existing token instead of a new SoftHSM token')
    .option('--pkcs11-serial <serial>', 'its serial number, where two carry that label')
    .option(
      '--pin-file <file>',
      'where the new PIN goes (default: next to the data folder, DIR.pin); with an existing token, where its PIN is',
    )
    .option('--pin-fd <n>', 'read the PIN of an existing token from this descriptor')
    .addOption(
      new Option(
        '--authority-keys <where>',
        "keys of the certificate authorities, agents' and the TLS listener's: wrapped in the database (the default), or made in the HSM and never out of it",
      ).choices(['wrapped', 'hsm']),
    )
    .addHelpText(
      'after',
      `
The data folder is --data, else SALLYPORT_DATA, else /var/lib/sallyport (root) or ~/.local/share/sallyport.
SoftHSM keeps its keys in files: it has the interface of an HSM, not the protection of one.
${examples(
  'sallyport init',
  'sallyport --data ./data init --pin-file ~/sallyport.pin',
  'sallyport init --pkcs11-module /usr/lib/yubihsm_pkcs11.so --pkcs11-token YubiHSM --pin-file /etc/sallyport/pin',
)}`,
    )
    .action(async (flags: InitFlags, command: Command) => {
      const context = contextOf(command);
      const { createDataFolder } = await import('./data-folder.ts');
      const made = await createDataFolder(context.data, flags);
      printResult(context.json, made, () =>
        properties([
          ['data folder', made.data],
          ['token', `${made.token} (${made.module})`],
          ['pin file', made.pinFile ?? 'none: give --pin-file to serve'],
          ...(made.anchor === 'file'
            ? [['anchor', 'a file beside the database: the token keeps no data objects'] as const]
            : []),
        ]),
      );
      if (made.pinFile !== null)
        note('Without the PIN and the token the data is useless: back both up, apart from each other.');
      note(`Next: sallyport serve --data ${made.data}`);
    });
}
