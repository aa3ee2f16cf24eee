import { SallyportError } from '../errors.ts';
import { describe } from './cryptoki.ts';

/**
 * Prints what `work` answers as one JSON document on one line or, where it throws, {"error":{"code","message"}} with
 * exit code 1: how the processes that a command runs beside it give account.
 */
export function answerOnce(work: () => unknown): void {
  try {
    process.stdout.write(`${JSON.stringify(work())}\n`);
  } catch (caught) {
    const error = describe(caught);
    const code = error instanceof SallyportError ? error.code : 'internal';
    const message = error instanceof Error ? error.message : String(error);
    process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
    process.exitCode = 1;
  }
}
