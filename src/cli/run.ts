import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { examples } from './help.ts';

export interface RunFlags {
  readonly agent: string;
  readonly proxy?: string;
  readonly ca?: string;
}

export function addRun(root: Command): void {
  root
    .command('run')
    .description('Run a command with its requests going through the proxy as this agent')
    .argument('<command...>', 'after --: the command and its arguments')
    .requiredOption('--agent <name>', 'the agent whose credentials the command may use')
    .option('--proxy <url>', 'the proxy, where it runs on another machine (with --ca and SALLYPORT_TOKEN)')
    .option('--ca <file>', "the agent's CA (PEM), where the vault runs on another machine")
    .addHelpText(
      'after',
      `
Sets the proxy and CA variables that curl, git, Node, Python, Go, Rust, Ruby, aws, gcloud, pip, npm and others read.
The token is SALLYPORT_TOKEN; without it, on the vault's machine, one that is valid for as long as the command runs.
Java reads none of these variables: give it -Dhttps.proxyHost and a trust store with the agent's CA yourself.
${examples(
  'sallyport run --agent bot -- curl https://api.openai.com/v1/models',
  'SALLYPORT_TOKEN=spa_... sallyport run --agent bot --proxy http://10.0.0.5:7080 --ca bot.pem -- python agent.py',
)}`,
    )
    .action(async (words: string[], flags: RunFlags, command: Command) => {
      const { runCommand } = await import('./run-command.ts');
      await runCommand(contextOf(command), flags, words);
    });
}
