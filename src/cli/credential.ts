import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { addCreate } from './credential-create.ts';
import { addVersions, describeOutdated } from './credential-versions.ts';
import { examples, group } from './help.ts';
import { listing } from './listing.ts';
import { note, printResult, table } from './output.ts';
import { itemsOf, numberOf, partOf, textOf, textsOf } from './reply.ts';
import { describeHsmKeys, describeWhatIsLeft } from './shredding.ts';
import { isId, WHICH, whichCredential } from './which-credential.ts';

/** Where the key is that a credential signs with; of rows of an earlier form that is not known. */
const KEY_PLACES: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  [true, 'in the HSM'],
  [false, 'sealed'],
]);

export function addCredential(root: Command): void {
  const credential = group(root, 'credential', 'Set, list and remove credentials; none is ever shown again');
  credential.addHelpText(
    'after',
    examples('sallyport credential set openai --agent bot < key.txt', 'sallyport credential list'),
  );

  credential
    .command('set')
    .description(
      "Set a service's credential: a new one, or a new version of the one with that label, in force at once",
    )
    .argument('<service>', 'id of the service: see "sallyport service list"')
    .option('--label <label>', 'tells several credentials of a service apart', 'default')
    .option('--agent <name...>', 'grant it to these agents in the same step')
    .option('--field <k=v...>', 'the fields that are no secret, such as a region or an account')
    .option('--file <file>', 'read the secret from this file instead of standard input')
    .option(
      '--hsm',
      'AWS: put the secret access key into the HSM, where it signs and which it does not leave',
    )
    .addHelpText(
      'after',
      `
The secret comes from standard input or a file, never from an argument: one value, or where the service has several
secret fields a JSON object of them. At a terminal it is asked for and not shown. It is sealed here to a key inside
the HSM before it is sent anywhere.
${examples(
  'sallyport credential set openai --agent bot < key.txt',
  'pass show datadog | sallyport credential set datadog --field site=eu1',
  'sallyport credential set github --label work --file token.txt',
  'sallyport credential set aws --hsm --field access_key_id=AKIA... < secret.json',
)}`,
    )
    .action(async (service: string, options, command: Command) => {
      const context = contextOf(command);
      const { setCredential } = await import('./credential-set.ts');
      const reply = await setCredential(context, service, options);
      printResult(
        context.json,
        reply,
        () =>
          `${textOf(reply, 'service')} "${textOf(reply, 'label')}" is at version ${numberOf(reply, 'version')} (credential ${textOf(reply, 'id')}).${describeOutdated(reply)}`,
      );
    });

  addCreate(credential);

  credential
    .command('list')
    .description('List the credentials: what they are for, never what they are')
    .addHelpText('after', examples('sallyport credential list'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const credentials = await listing(context, '/v1/credentials', (rows, from) =>
        from.listCredentials(rows),
      );
      printResult(context.json, credentials, () =>
        table(
          ['SERVICE', 'LABEL', 'VERSION', 'SET', 'KEY', 'AGENTS', 'ID'],
          itemsOf(credentials, 'credentials').map((each) => [
            textOf(each, 'service'),
            textOf(each, 'label'),
            String(numberOf(each, 'version')),
            textOf(each, 'created'),
            KEY_PLACES.get(partOf(each, 'inHsm')) ?? 'not noted',
            textsOf(each, 'agents').join(' ') || '-',
            textOf(each, 'id'),
          ]),
          'No credentials. Set one with "sallyport credential set SERVICE".',
        ),
      );
    });

  addVersions(credential);

  credential
    .command('remove')
    .description('Remove a credential with its grants: in force in every worker before this command ends')
    .argument('<credential>', WHICH)
    .option('--label <label>', "which of the service's credentials", 'default')
    .addHelpText(
      'after',
      `
All its versions are shredded. Copies in backups stay openable until every KEK that ever wrapped them is destroyed; this
names them. Keys that were born in the HSM are destroyed at once.
${examples('sallyport credential remove github --label work', 'sallyport credential remove crd_2vKx')}`,
    )
    .action(async (which: string, { label }: { label: string }, command: Command) => {
      const context = contextOf(command);
      const id = isId(which) ? which : (await whichCredential(context, which, label)).id;
      const removed = await control(context, 'DELETE', `/v1/credentials/${encodeURIComponent(id)}`);
      printResult(
        context.json,
        removed,
        () => `Removed credential ${id}.${describeHsmKeys(textsOf(removed, 'hsmKeys'), removed)}`,
      );
      note(`${describeWhatIsLeft(removed)} To look it up: sallyport credential versions ${id}`);
    });
}
