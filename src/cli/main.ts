import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { SallyportError } from '../errors.ts';
import { addAgent } from './agent.ts';
import { addAudit } from './audit.ts';
import { addAuthority } from './authority.ts';
import { addBackup } from './backup.ts';
import { addCredential } from './credential.ts';
import { PIN_REFUSED, reportFailure } from './failure.ts';
import { addGrant } from './grant.ts';
import { examples } from './help.ts';
import { addHsm } from './hsm.ts';
import { addInit } from './init.ts';
import { addIntegrity } from './integrity.ts';
import { written } from './output.ts';
import { addRun } from './run.ts';
import { addServe } from './serve.ts';
import { addService } from './service.ts';
import { addStatus } from './status.ts';

/**
 * The command line. Prints one line on standard error and sets exit code 1 or 3 where a command fails; never throws.
 * `argv` as Node gives it: interpreter, program, arguments.
 */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on('error', stopWhenUnread);
  process.stderr.on('error', stopWhenUnread);
  try {
    await program(argv).parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return; // --help and --version have printed.
      reportFailure(new SallyportError('invalid_argument', usageError(error)), wantsJson(argv));
    } else {
      reportFailure(error, wantsJson(argv));
    }
    await Promise.all([written(process.stdout), written(process.stderr)]);
    process.exit(); // A server or socket that is still open must not keep a failed command.
  }
}

function program(argv: readonly string[]): Command {
  const root = new Command('sallyport')
    .description(
      'A credential vault and TLS-terminating proxy for AI agents: requests leave with the credential, the agent never has it.',
    )
    .option('--data <dir>', 'data folder (or SALLYPORT_DATA)')
    .option('--json', 'print JSON on standard output, messages on standard error')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => {} })
    .exitOverride()
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 \`status --exit-code\` has something bad to tell, ${PIN_REFUSED} the token refused the PIN (do not try again:
tokens lock). \`run\` ends as its command does.
${examples(
  'sallyport init && sallyport serve',
  'sallyport agent add bot',
  'sallyport credential set openai --agent bot < key.txt',
  'sallyport run --agent bot -- curl https://api.openai.com/v1/models',
)}`,
    );
  // `credential shred` has a --version of its own, which the program's would take away from it.
  if (!argv.includes('shred')) root.version(version(), '-V, --version', 'print the version');
  root.action(() => root.outputHelp());
  for (const add of [
    addInit,
    addServe,
    addStatus,
    addAgent,
    addAuthority,
    addService,
    addCredential,
    addGrant,
    addRun,
    addAudit,
    addIntegrity,
    addBackup,
    addHsm,
  ]) {
    add(root);
  }
  return root;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

/** Commander's message as one sentence: no "error: " before it, no line break before its suggestion. */
function usageError(error: CommanderError): string {
  const message = error.message.replace(/^error: /, '').replace(/\s+/g, ' ');
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.)?]$/.test(message) ? '' : '.'} Try --help.`;
}

/** Read from the arguments themselves, for errors met before they are parsed. What follows `--` is not ours. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(2, end < 0 ? undefined : end).includes('--json');
}

/** A reader such as `head` that has gone is no error. */
function stopWhenUnread(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
  throw error;
}
