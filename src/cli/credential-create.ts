import { type Command, Option } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { describeOutdated } from './credential-versions.ts';
import { examples } from './help.ts';
import { printResult } from './output.ts';
import { numberOf, partOf, textOf } from './reply.ts';
import { isId, WHICH, whichCredential } from './which-credential.ts';

interface CreateOptions {
  readonly label: string;
  readonly agent?: readonly string[];
  readonly field?: readonly string[];
  readonly type?: string;
}

/** Adds `credential create` and `public-key`. */
export function addCreate(credential: Command): void {
  credential
    .command('create')
    .description(
      'Make a credential whose private key is born in the HSM and never leaves it, and show the public half to register',
    )
    .argument('<service>', 'id of a service that takes a key which signs, such as gcp-service-account')
    .option('--label <label>', 'tells several credentials of a service apart', 'default')
    .option('--agent <name...>', 'grant it to these agents in the same step')
    .option('--field <k=v...>', 'the fields that are no secret, such as an account')
    .addOption(
      new Option('--type <type>', 'kind of key (default: what the service takes)').choices([
        'rsa-2048',
        'rsa-3072',
        'p-256',
      ]),
    )
    .addHelpText(
      'after',
      `
The key counts at once: register the public half with the service before agents use it. Done again for the same label it
makes a new key, as a new version; "credential rollback" takes up the one before.
Where connections to a service show a client certificate, the key is an authority that issues one every hour.
${examples(
  'sallyport credential create gcp-service-account --agent bot --field client_email=ci@proj.iam.gserviceaccount.com --field scopes=https://www.googleapis.com/auth/cloud-platform',
  'sallyport credential create coinbase-cdp --field key_name=organizations/O/apiKeys/K',
  'sallyport credential create snowflake-key-pair --agent bot --field account=ORG-ACCOUNT --field user=BOT --field host=org-account.snowflakecomputing.com',
)}`,
    )
    .action(async (id: string, options: CreateOptions, command: Command) => {
      const context = contextOf(command);
      const { parsePublicFields, readService } = await import('./credential-set.ts');
      const service = readService(await control(context, 'GET', `/v1/services/${encodeURIComponent(id)}`));
      const reply = await control(context, 'POST', '/v1/credentials/keys', {
        service: service.id,
        label: options.label,
        publicFields: parsePublicFields(service, options.field ?? []),
        agents: options.agent ?? [],
        ...(options.type === undefined ? {} : { type: options.type }),
      });
      printResult(
        context.json,
        reply,
        () =>
          `${textOf(reply, 'service')} "${textOf(reply, 'label')}" is at version ${numberOf(reply, 'version')} (credential ${textOf(reply, 'id')}).${describeOutdated(reply)}\n\n${describe(partOf(reply, 'key'))}`,
      );
    });

  credential
    .command('public-key')
    .description('Show the public half of a key that was born in the HSM')
    .argument('<credential>', WHICH)
    .option('--label <label>', "which of the service's credentials", 'default')
    .addHelpText(
      'after',
      examples('sallyport credential public-key crd_2vKx', 'sallyport --json credential public-key acme'),
    )
    .action(async (which: string, { label }: { label: string }, command: Command) => {
      const context = contextOf(command);
      const id = isId(which) ? which : (await whichCredential(context, which, label)).id;
      const key = await control(context, 'GET', `/v1/credentials/${encodeURIComponent(id)}/key`);
      printResult(context.json, key, () => describe(key));
    });
}

function describe(key: unknown): string {
  return textOf(key, 'signs') === 'certificates' ? describeAuthority(key) : describeKey(key);
}

function describeAuthority(key: unknown): string {
  return [
    `Its key (${textOf(key, 'type')}) was made in the HSM and never leaves it. It is an authority for client certificates, each good for`,
    "an hour. Register the authority's certificate with the servers of the service, as one whose clients they let in:",
    '',
    textOf(key, 'certificate').trimEnd(),
    '',
    `SHA-256 fingerprint of its key: ${textOf(key, 'fingerprint')}`,
  ].join('\n');
}

function describeKey(key: unknown): string {
  return [
    `Its key (${textOf(key, 'type')}) was made in the HSM and never leaves it. Register its public half with the service:`,
    '',
    textOf(key, 'publicKey').trimEnd(),
    '',
    'The same as a certificate, for services that take one (Google does):',
    '',
    textOf(key, 'certificate').trimEnd(),
    '',
    `SHA-256 fingerprint: ${textOf(key, 'fingerprint')}`,
    'As a JWK: the same command with --json.',
  ].join('\n');
}
