import { SallyportError } from '../../errors.ts';
import { clientRefused } from '../../upstream/failures.ts';

/** The server sent what nobody asked it for. `what`: a verb and its object. */
export function unasked(what: string): SallyportError {
  return new SallyportError(
    'upstream_invalid',
    `The server ${what}, so its answer was dropped; the key is healthy.`,
  );
}

export function closedEarly(cause?: Error): SallyportError {
  const refusal = cause && clientRefused(cause);
  if (refusal) return refusal;
  const message =
    'The server closed the connection before its answer was whole; the key is healthy. Try again.';
  return new SallyportError('upstream_closed', message, { cause });
}

/** The server has taken nothing of the request. */
export function refused(cause: Error): SallyportError {
  const message =
    'The server has no room for the request now and took nothing of it; the key is healthy. Send it again.';
  return new SallyportError('upstream_refused', message, { cause });
}

export function timedOut(): SallyportError {
  const message = 'The server did not begin to answer in time; the key is healthy. Try again later.';
  return new SallyportError('upstream_timeout', message);
}
