import { SallyportError } from '../errors.ts';

// Not imported: an import reads every export, some of which load the whole fetch implementation (60 ms of CPU, which a
// worker that is started again has no time for).
const { STATUS_CODES } = process.getBuiltinModule('node:http');

/** The reason phrase that a refused CONNECT carries is what many clients print: it stays on one line. */
const MAX_REASON = 300;

/**
 * A refusal as an HTTP response: problem details (RFC 9457) with our stable code, and the code in a field of its own.
 * `reason`: whether the sentence is the reason phrase too (for CONNECT, where clients show nothing else).
 */
export function problemResponse(
  error: SallyportError,
  options: { readonly close: boolean; readonly bodiless: boolean; readonly reason: boolean },
): Buffer {
  const body = Buffer.from(
    JSON.stringify({
      type: `urn:sallyport:error:${error.code}`,
      title: STATUS_CODES[error.status] ?? 'Error',
      status: error.status,
      detail: error.message,
      code: error.code,
      retryable: error.retryable,
    }),
  );
  const reason = options.reason ? asReason(error.message) : (STATUS_CODES[error.status] ?? 'Error');
  const lines = [
    `HTTP/1.1 ${error.status} ${reason}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${body.length}`,
    `X-Sallyport-Error: ${error.code}`,
    'Cache-Control: no-store',
  ];
  if (error.code === 'proxy_auth_required') lines.push('Proxy-Authenticate: Basic realm="sallyport"');
  if (error.retryable) lines.push('Retry-After: 1');
  if (options.close) lines.push('Connection: close');
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return options.bodiless ? head : Buffer.concat([head, body]);
}

/** Visible ASCII and spaces only, whatever a message quotes. */
function asReason(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, MAX_REASON);
}

/** What was thrown, as one of our errors: an unforeseen fault becomes `internal`, its text kept out of the answer. */
export function asSallyportError(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  const message =
    'The proxy failed inside and nothing was forwarded; the key is healthy. Try again once, then tell the owner.';
  return new SallyportError('internal', message, { cause: error });
}
