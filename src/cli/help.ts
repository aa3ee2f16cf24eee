import type { Command } from 'commander';
import { SallyportError } from '../errors.ts';

/** The examples that end a command's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`;
}

/** A command that only holds others: called without one, or with a name it does not have, it says which there are. */
export function group(parent: Command, name: string, description: string): Command {
  const command = parent.command(name).description(description).usage('<command>').argument('[command]');
  command.action((given: string | undefined) => {
    const names = command.commands.map((each) => each.name()).join(', ');
    const what = given === undefined ? 'needs a command' : `has no command "${given}"`;
    throw new SallyportError('invalid_argument', `"sallyport ${name}" ${what}: one of ${names}. Try --help.`);
  });
  return command;
}
