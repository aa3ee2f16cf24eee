import { type Command, Option } from 'commander';
import { addAgentAuthority } from './agent-authority.ts';
import { removeAuthority, writeAuthority } from './agent-ca.ts';
import { type Context, contextOf } from './context.ts';
import { control } from './control.ts';
import { examples, group } from './help.ts';
import { listing } from './listing.ts';
import { note, printResult, properties, table } from './output.ts';
import { proxyUrl } from './proxy-url.ts';
import { itemsOf, textOf } from './reply.ts';

export function addAgent(root: Command): void {
  const agent = group(root, 'agent', 'Manage the agents that may use the proxy');
  agent.addHelpText('after', examples('sallyport agent add bot', 'sallyport agent list'));

  agent
    .command('add')
    .description('Add an agent; prints its token, this once')
    .argument('<name>', 'name of the agent: its user name at the proxy')
    .addOption(unlisted())
    .addHelpText(
      'after',
      examples('sallyport agent add bot', 'sallyport agent add bot --json | jq -r .token'),
    )
    .action(async (name: string, flags: AgentFlags, command: Command) =>
      add(contextOf(command), name, flags),
    );

  agent
    .command('set')
    .description('Change what an agent may do')
    .argument('<name>', 'name of the agent')
    .addOption(unlisted().makeOptionMandatory())
    .addHelpText('after', examples('sallyport agent set bot --unlisted tunnel'))
    .action(async (name: string, flags: AgentFlags, command: Command) => {
      const context = contextOf(command);
      const reply = await control(context, 'PATCH', `/v1/agents/${encodeURIComponent(name)}`, flags);
      const result = { id: textOf(reply, 'id'), name, unlisted: flags.unlisted };
      printResult(context.json, result, () => `Hosts not granted to ${name}: ${flags.unlisted}.`);
    });

  agent
    .command('list')
    .description('List the agents')
    .addHelpText('after', examples('sallyport agent list'))
    .action(async (_options, command: Command) => list(contextOf(command)));

  agent
    .command('rotate')
    .description(
      "Replace an agent's token; prints the new one, this once. The old one is refused from now on",
    )
    .argument('<name>', 'name of the agent')
    .addHelpText('after', examples('sallyport agent rotate bot'))
    .action(async (name: string, _options, command: Command) => rotate(contextOf(command), name));

  agent
    .command('remove')
    .description('Remove an agent with its grants; its open connections are closed')
    .argument('<name>', 'name of the agent')
    .addHelpText('after', examples('sallyport agent remove bot'))
    .action(async (name: string, _options, command: Command) => {
      const context = contextOf(command);
      await control(context, 'DELETE', `/v1/agents/${encodeURIComponent(name)}`);
      removeAuthority(context, name);
      printResult(context.json, { removed: name }, () => `Removed agent ${name}.`);
    });

  addAgentAuthority(agent);
}

interface AgentFlags {
  readonly unlisted?: string;
}

function unlisted(): Option {
  const what =
    'hosts that no grant names: refused (the default), or tunnelled without a credential, unseen by the proxy';
  return new Option('--unlisted <what>', what).choices(['deny', 'tunnel']);
}

async function add(context: Context, name: string, flags: AgentFlags): Promise<void> {
  const { newToken } = await import('./agent-token.ts');
  const token = newToken();
  const reply = await control(context, 'POST', '/v1/agents', { name, tokenHash: token.hash, ...flags });
  const result = {
    id: textOf(reply, 'id'),
    name: textOf(reply, 'name'),
    token: token.text,
    ca: writeAuthority(context, textOf(reply, 'name'), textOf(reply, 'ca')),
    proxy: proxyUrl(context),
  };
  printResult(context.json, result, () =>
    properties([
      ['id', result.id],
      ['name', result.name],
      ['token', result.token],
      ['ca', result.ca],
      ['proxy', result.proxy],
    ]),
  );
  note('The token is shown this once: keep it where the agent finds it, for instance in SALLYPORT_TOKEN.');
}

async function list(context: Context): Promise<void> {
  const agents = await listing(context, '/v1/agents', (rows, from) => from.listAgents(rows));
  printResult(context.json, agents, () =>
    table(
      ['NAME', 'ID', 'UNLISTED', 'CREATED'],
      itemsOf(agents, 'agents').map((each) => [
        textOf(each, 'name'),
        textOf(each, 'id'),
        textOf(each, 'unlisted'),
        textOf(each, 'created'),
      ]),
      'No agents. Add one with "sallyport agent add NAME".',
    ),
  );
}

async function rotate(context: Context, name: string): Promise<void> {
  const { newToken } = await import('./agent-token.ts');
  const token = newToken();
  await control(context, 'POST', `/v1/agents/${encodeURIComponent(name)}/rotate`, { tokenHash: token.hash });
  printResult(context.json, { name, token: token.text }, () => token.text);
  note('The new token is shown this once; the old one is refused from now on.');
}
