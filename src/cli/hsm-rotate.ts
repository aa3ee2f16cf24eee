import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { isErrorCode, SallyportError } from '../errors.ts';
import { contextOf } from './context.ts';
import { control, controlStream } from './control.ts';
import { examples } from './help.ts';
import { note, printResult } from './output.ts';
import { flagOf, numberOf, partOf, textOf } from './reply.ts';

const BAR = 30;

/** Adds `hsm rotate` and `hsm retire`. */
export function addRotation(hsm: Command): void {
  hsm
    .command('rotate')
    .description('Make a new KEK and rewrap every data key with it, while everything goes on')
    .addHelpText(
      'after',
      `
Where it is interrupted, call it again: it goes on where it was, and makes no other KEK. The old one stays until "hsm retire".
With --json each step is a line {"kek","made","done","total"} (NDJSON); the last is the result.
${examples('sallyport hsm rotate')}`,
    )
    .action(async (_options, command: Command) => {
      const context = contextOf(command);
      const steps = await controlStream(context, 'POST', '/v1/hsm/rotate');
      const last = await rotated(steps, context.json ? printLine : showBar);
      const text = `${numberOf(last, 'done')} data keys are rewrapped with ${textOf(last, 'kek')}.`;
      if (!context.json) printResult(false, last, () => text);
      if (!flagOf(last, 'made'))
        note(
          `No new KEK was made: some were still wrapped with an older one than ${textOf(last, 'kek')} (a rotation was interrupted, or a backup restored). Call it again for a new one.`,
        );
    });

  hsm
    .command('retire')
    .description('Destroy an old KEK that nothing is wrapped with any more; it cannot be taken back')
    .argument('<kek>', 'label of the KEK: see "sallyport hsm status"')
    .addHelpText(
      'after',
      `
What was shredded is beyond opening once every KEK that ever wrapped it is destroyed: "credential versions" says of each
shredded version which are left. Rows in backups from before the rotation need this KEK too.
${examples('sallyport hsm retire sallyport-kek-1')}`,
    )
    .action(async (kek: string, _options, command: Command) => {
      const context = contextOf(command);
      const reply = await control(context, 'POST', '/v1/hsm/retire', { kek });
      printResult(context.json, reply, () => `${kek} is destroyed.`);
      note(
        `With this token nothing opens any more that only ${kek} had wrapped: rows of backups from before the rotation, and what was shredded, where no other KEK has wrapped it too ("sallyport credential versions" says so). Backups of the token from before ("backup create --with-token", a clone) still hold ${kek}: destroy those too.`,
      );
    });
}

/** Shows each step as it comes; answers the last. Throws what the vault ended with. */
async function rotated(lines: NodeJS.ReadableStream, show: (step: unknown) => void): Promise<unknown> {
  let last: unknown;
  try {
    for await (const line of createInterface({ input: lines })) {
      last = JSON.parse(line);
      const error = partOf(last, 'error');
      if (error !== undefined) throw refusal(error);
      show(last);
    }
  } finally {
    if (show === showBar && process.stderr.isTTY) process.stderr.write('\n');
  }
  if (last !== undefined && numberOf(last, 'done') >= numberOf(last, 'total')) return last;
  throw new SallyportError(
    'vault_unavailable',
    'The vault went away before all was done: call "sallyport hsm rotate" again, it goes on where it was.',
  );
}

function printLine(step: unknown): void {
  printResult(true, step, () => '');
}

/** On standard error: one line that is drawn over on a terminal, a line for each step elsewhere. */
function showBar(step: unknown): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${bar(step)}`);
  else note(bar(step));
}

function bar(progress: unknown): string {
  const [done, total] = [numberOf(progress, 'done'), numberOf(progress, 'total')];
  const full = total === 0 ? BAR : Math.floor((BAR * done) / total);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}] ${done} of ${total}`;
}

function refusal(error: unknown): SallyportError {
  const code = textOf(error, 'code');
  return new SallyportError(isErrorCode(code) ? code : 'internal', textOf(error, 'message'));
}
