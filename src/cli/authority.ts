import type { Command } from 'commander';
import { authorityOf, writeAuthority } from './agent-ca.ts';
import { type Context, contextOf } from './context.ts';
import { control } from './control.ts';
import { examples, group } from './help.ts';
import { note, printResult } from './output.ts';
import { itemsOf, textOf, textsOf } from './reply.ts';

const NEXT = 'Install it where each agent runs, then end the old one: sallyport authority retire';

/** `authority rotate` and `authority retire`: the TLS listener's own authority, which every agent trusts beside its own. */
export function addAuthority(root: Command): void {
  const authority = group(root, 'authority', "Replace the certificate authority of the proxy's TLS listener");
  authority.addHelpText('after', examples('sallyport authority rotate', 'sallyport authority retire'));

  authority
    .command('rotate')
    .description(
      'Give the TLS listener a new certificate authority; the old one stays trusted until "retire"',
    )
    .addHelpText(
      'after',
      `
Every agent's CA file holds the listener's CA beside the agent's own; those in the data folder are written anew. Until it is
retired, a client that trusts the old CA alone, the new one alone, or both, is served. Open connections stay.
${examples('sallyport authority rotate', 'sallyport agent ca bot > ca.pem   # with both, to install', 'sallyport authority retire')}`,
    )
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const result = await replace(context, 'rotate');
      printResult(context.json, result, () => `The TLS listener has a new CA. ${written(result)}`);
      note(NEXT);
    });

  authority
    .command('retire')
    .description('End trust in the CA of the TLS listener before the last "rotate", and destroy its key')
    .addHelpText('after', examples('sallyport authority retire'))
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const result = await replace(context, 'retire');
      printResult(
        context.json,
        result,
        () => `The earlier CA of the TLS listener is retired. ${written(result)}`,
      );
    });
}

interface Replaced {
  /** Names of the authority's roots that were made and ended, and of those that count now, the newest one last. */
  readonly made: readonly string[];
  readonly ended: readonly string[];
  readonly roots: readonly string[];
  /** The CA files, one for each agent. */
  readonly files: readonly string[];
}

async function replace(context: Context, step: 'rotate' | 'retire'): Promise<Replaced> {
  const reply = await control(context, 'POST', `/v1/authority/${step}`);
  const made = textsOf(reply, 'made');
  const ended = textsOf(reply, 'ended');
  return { made, ended, roots: textsOf(reply, 'roots'), files: await writeAll(context) };
}

/** Writes every agent's CA file, which the listener's CA is in; answers their paths. */
async function writeAll(context: Context): Promise<string[]> {
  const agents = await control(context, 'GET', '/v1/agents');
  const files: string[] = [];
  for (const agent of itemsOf(agents, 'agents')) {
    const name = textOf(agent, 'name');
    files.push(writeAuthority(context, name, await authorityOf(context, name)));
  }
  return files;
}

function written({ files }: Replaced): string {
  if (files.length === 0) return 'No agent has a CA file yet.';
  const [first = ''] = files;
  return files.length === 1
    ? `${first} is written anew.`
    : `${first} and ${files.length - 1} more are written anew.`;
}
