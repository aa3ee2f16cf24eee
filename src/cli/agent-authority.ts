import type { Command } from 'commander';
import { authorityOf, writeAuthority } from './agent-ca.ts';
import { type Context, contextOf } from './context.ts';
import { control } from './control.ts';
import { examples } from './help.ts';
import { note, printResult } from './output.ts';
import { textOf } from './reply.ts';

/** `agent ca`, `agent rotate-ca` and `agent retire-ca`: what an agent trusts, and how that is replaced. */
export function addAgentAuthority(agent: Command): void {
  agent
    .command('ca')
    .description(
      "Print what the agent is to trust (PEM): its own certificate authority, and the TLS listener's",
    )
    .argument('<name>', 'name of the agent')
    .addHelpText('after', examples('sallyport agent ca bot > ca.pem'))
    .action(async (name: string, _options, command: Command) => {
      const context = contextOf(command);
      const pem = await authorityOf(context, name);
      printResult(context.json, { name, pem }, () => pem.trimEnd());
    });

  agent
    .command('rotate-ca')
    .description("Give the agent a new certificate authority; the old one stays trusted until 'retire-ca'")
    .argument('<name>', 'name of the agent')
    .addHelpText(
      'after',
      `
Until it is retired, a client that trusts the old CA alone, the new one alone, or both, is served. Open connections stay.
${examples('sallyport agent rotate-ca bot', 'sallyport agent ca bot > ca.pem   # both, to install', 'sallyport agent retire-ca bot')}`,
    )
    .action(async (name: string, _options, command: Command) => {
      const context = contextOf(command);
      const ca = await replace(context, name, 'rotate-ca');
      printResult(context.json, { name, ca }, () => `${name} has a new CA; ${ca} holds both.`);
      note(`Install it where the agent runs, then end the old one: sallyport agent retire-ca ${name}`);
    });

  agent
    .command('retire-ca')
    .description("End trust in the agent's CA before the last 'rotate-ca', and destroy its key")
    .argument('<name>', 'name of the agent')
    .addHelpText('after', examples('sallyport agent retire-ca bot'))
    .action(async (name: string, _options, command: Command) => {
      const context = contextOf(command);
      const ca = await replace(context, name, 'retire-ca');
      printResult(context.json, { name, ca }, () => `The earlier CA of ${name} is retired.`);
    });
}

async function replace(context: Context, name: string, step: 'rotate-ca' | 'retire-ca'): Promise<string> {
  const reply = await control(context, 'POST', `/v1/agents/${encodeURIComponent(name)}/${step}`);
  return writeAuthority(context, name, textOf(reply, 'ca'));
}
