import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { examples, group } from './help.ts';
import type { CheckFlags } from './hsm-check.ts';
import type { PinChangeFlags } from './hsm-pin.ts';
import { addRotation } from './hsm-rotate.ts';

export function addHsm(root: Command): void {
  const hsm = group(root, 'hsm', 'Look into the HSM and look after its keys');
  hsm.addHelpText(
    'after',
    examples('sallyport hsm status', 'sallyport hsm check --pkcs11-module /usr/lib/pkcs11.so'),
  );

  hsm
    .command('check')
    .description('Try what a PKCS#11 module and its token can do for Sallyport; makes nothing that stays')
    .requiredOption('--pkcs11-module <file>', "the HSM's PKCS#11 library")
    .option('--pkcs11-token <label>', 'the token to look at (default: all that the module shows)')
    .option('--pkcs11-serial <serial>', 'its serial number, where two carry that label')
    .option('--pin-file <file>', 'where its PIN is: with it everything is tried and timed, once logged in')
    .addHelpText(
      'after',
      `
Without a PIN it tells from what the token lists. Exit code 1: no token that it looked at can be used.
${examples(
  'sallyport hsm check --pkcs11-module /usr/lib/yubihsm_pkcs11.so',
  'sallyport hsm check --pkcs11-module /usr/lib/yubihsm_pkcs11.so --pkcs11-token YubiHSM --pin-file /etc/sallyport/pin',
)}`,
    )
    .action(async (flags: CheckFlags, command: Command) => {
      const { printCheck } = await import('./hsm-check.ts');
      await printCheck(contextOf(command), flags);
    });

  hsm
    .command('status')
    .description('Show the token, its mechanisms, and the keys as the HSM itself reports them')
    .addHelpText('after', examples('sallyport hsm status', 'sallyport --json hsm status'))
    .action(async (_flags: unknown, command: Command) => {
      const { printStatus } = await import('./hsm-status.ts');
      await printStatus(contextOf(command));
    });

  addRotation(hsm);

  hsm
    .command('pin')
    .description("Change the token's PIN and put the new one into the PIN file")
    .option('--pin-file <file>', 'where the PIN is, and the new one will be (default: what init noted)')
    .option(
      '--new-pin-file <file>',
      'take the new PIN from this file instead of making one; it is moved into the place of the old one',
    )
    .addHelpText(
      'after',
      `
Stop serve first. The new PIN is on disk, beside the old one in FILE.new, before the token learns it; where this command
is interrupted, call it again: it goes on from where it was. Where it is refused nothing was changed.
${examples('sallyport hsm pin', 'sallyport hsm pin --pin-file /etc/sallyport/pin --new-pin-file ./chosen')}`,
    )
    .action(async (flags: PinChangeFlags, command: Command) => {
      const { changePin } = await import('./hsm-pin.ts');
      await changePin(contextOf(command), flags);
    });
}
