import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples, group } from './help.ts';
import { listing } from './listing.ts';
import { printResult, table } from './output.ts';
import { flagOf, itemsOf, textOf, textsOf } from './reply.ts';

export function addGrant(root: Command): void {
  const grant = group(root, 'grant', 'Say which agent may use which credential, and for what');
  grant.addHelpText('after', examples('sallyport grant add bot openai', 'sallyport grant list'));

  grant
    .command('add')
    .description('Let an agent use a credential; a grant that exists takes the limits given here')
    .argument('<agent>', 'name of the agent')
    .argument('<service>', 'id of the service')
    .option('--label <label>', 'which of the credentials of the service, where it has several')
    .option('--method <method...>', 'only these methods (all unless given)')
    .option('--path <prefix...>', 'only paths that begin with one of these (all unless given)')
    .addHelpText('after', examples('sallyport grant add bot github --method GET --path /repos/acme/'))
    .action(
      async (
        agent: string,
        service: string,
        options: { label?: string; method?: string[]; path?: string[] },
        command: Command,
      ) => {
        const context = contextOf(command);
        const reply = await control(context, 'PUT', '/v1/grants', {
          agent,
          service,
          ...(options.label === undefined ? {} : { label: options.label }),
          methods: (options.method ?? []).map((method) => method.toUpperCase()),
          paths: options.path ?? [],
        });
        printResult(context.json, reply, () =>
          flagOf(reply, 'created')
            ? `${agent} may use ${service}.`
            : `${agent} may use ${service}, as it could before.`,
        );
      },
    );

  grant
    .command('remove')
    .description('Take the right back: in force in every worker before this command ends')
    .argument('<agent>', 'name of the agent')
    .argument('<service>', 'id of the service')
    .option('--label <label>', 'only for this credential of the service')
    .addHelpText('after', examples('sallyport grant remove bot github'))
    .action(async (agent: string, service: string, options: { label?: string }, command: Command) => {
      const context = contextOf(command);
      const query = new URLSearchParams({ agent, service });
      if (options.label !== undefined) query.set('label', options.label);
      await control(context, 'DELETE', `/v1/grants?${query}`);
      printResult(
        context.json,
        { removed: { agent, service } },
        () => `${agent} may no longer use ${service}.`,
      );
    });

  grant
    .command('list')
    .description('List who may use what')
    .addHelpText('after', examples('sallyport grant list'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const grants = await listing(context, '/v1/grants', (rows, from) => from.listGrants(rows));
      printResult(context.json, grants, () =>
        table(
          ['AGENT', 'SERVICE', 'LABEL', 'METHODS', 'PATHS'],
          itemsOf(grants, 'grants').map((each) => [
            textOf(each, 'agent'),
            textOf(each, 'service'),
            textOf(each, 'label'),
            textsOf(each, 'methods').join(' ') || 'all',
            textsOf(each, 'paths').join(' ') || 'all',
          ]),
          'No grants. Give one with "sallyport grant add AGENT SERVICE".',
        ),
      );
    });
}
