import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { SallyportError } from '../errors.ts';
import { contextOf } from './context.ts';
import { control } from './control.ts';
import { examples, group } from './help.ts';
import { listing } from './listing.ts';
import { note, printResult, table } from './output.ts';
import { itemsOf, numberOf, textOf, textsOf } from './reply.ts';

export function addService(root: Command): void {
  const service = group(
    root,
    'service',
    'Show the services that credentials can be set for, and add your own',
  );
  service.addHelpText('after', examples('sallyport service list', 'sallyport service show openai'));

  service
    .command('list')
    .description('List the services: those of the catalog, and those added')
    .addHelpText('after', examples('sallyport service list', 'sallyport service list --json'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const services = await listing(context, '/v1/services', (rows, from) => from.listServices(rows));
      printResult(context.json, services, () =>
        table(
          ['ID', 'NAME', 'SCHEME', 'CREDENTIALS', 'HOSTS'],
          itemsOf(services, 'services').map((each) => [
            textOf(each, 'id'),
            textOf(each, 'name'),
            textOf(each, 'scheme'),
            String(numberOf(each, 'credentials')),
            textsOf(each, 'hosts').join(' '),
          ]),
          'No services.',
        ),
      );
    });

  service
    .command('show')
    .description('Show one service: hosts, fields, how its credential is written into a request')
    .argument('<id>', 'id of the service')
    .addHelpText('after', examples('sallyport service show openai'))
    .action(async (id: string, _options, command: Command) => {
      const context = contextOf(command);
      const path = `/v1/services/${encodeURIComponent(id)}`;
      const shown = await listing(context, path, (rows, from) => from.showService(rows, id));
      printResult(context.json, shown, () => JSON.stringify(shown, null, 2));
    });

  service
    .command('add')
    .description(
      "Add services, or replace one's definition, from a file in the catalog's shape (one, or a list)",
    )
    .requiredOption('--file <file>', 'JSON file; - reads standard input')
    .addHelpText('after', examples('sallyport service add --file my-service.json'))
    .action(async (options: { file: string }, command: Command) => {
      const context = contextOf(command);
      const { parseServices } = await import('../catalog/service.ts');
      const services = parseServices(readText(options.file));
      const reply = await control(context, 'POST', '/v1/services', { services });
      printResult(context.json, reply, () =>
        [
          ...textsOf(reply, 'added').map((id) => `Added service ${id}.`),
          ...textsOf(reply, 'updated').map((id) => `Updated service ${id}.`),
        ].join('\n'),
      );
      const stranded = textsOf(reply, 'stranded');
      if (stranded.length === 0) return;
      note(
        `Earlier versions that were set for other destinations are kept, and can be rolled back to under the definition of then only: ${stranded.join(' ')}`,
      );
    });
}

/** Throws invalid_argument where the file cannot be read. */
function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_argument', `${file} cannot be read (${why}): name a JSON file.`, {
      cause,
    });
  }
}
