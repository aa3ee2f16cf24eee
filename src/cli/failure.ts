import { isErrorCode, SallyportError } from '../errors.ts';

/** Of a command whose PIN the token refused: whatever starts it again (systemd/sallyport.service) must not then. */
export const PIN_REFUSED = 3;

/**
 * Prints what went wrong as one line on standard error and sets exit code 1, or PIN_REFUSED: `sallyport: message [code]`, or with
 * `--json` `{"error":{"code","message"}}`. No stack: a message says what to do, a stack does not.
 */
export function reportFailure(error: unknown, json: boolean): void {
  const { code, message } = describe(error);
  process.stderr.write(
    json ? `${JSON.stringify({ error: { code, message } })}\n` : `sallyport: ${message} [${code}]\n`,
  );
  process.exitCode = code === 'hsm_pin_wrong' ? PIN_REFUSED : 1;
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof SallyportError) return { code: error.code, message: oneLine(error.message) };
  if (error instanceof Error) {
    const code = 'code' in error && isErrorCode(error.code) ? error.code : 'internal';
    return { code, message: oneLine(error.message) };
  }
  return { code: 'internal', message: oneLine(String(error)) };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
