import type { IncomingMessage } from 'node:http';
import { finished } from 'node:stream/promises';
import type { FastifyInstance } from 'fastify';
import { ZodError } from 'zod';
import { SallyportError } from '../../errors.ts';

const DRAIN_MS = 1000;

/** Makes every failure of `app` an answer `{code, message}` with the code's status, and nothing of its inside. */
export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler(async (error, request, reply) => {
    const { code, message, status } = describe(error);
    // Closed with bytes of the body unread, the socket would be reset, and the caller fail before it reads the answer.
    await drained(request.raw);
    return reply.status(status).send({ code, message });
  });
  app.setNotFoundHandler((_request, reply) => {
    return reply.status(404).send({ code: 'not_found', message: 'The vault has no such address.' });
  });
}

/** Resolves once `request` has been read to its end, or at the latest after a second. */
async function drained(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  request.resume();
  await finished(request, { signal: AbortSignal.timeout(DRAIN_MS) }).catch(() => undefined);
}

function describe(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  if (error instanceof ZodError) {
    const [issue] = error.issues;
    const where = issue && issue.path.length > 0 ? ` at ${issue.path.map(String).join('.')}` : '';
    return new SallyportError(
      'invalid_argument',
      `The request is not as asked for${where}: ${issue?.message}.`,
    );
  }
  // What Fastify refuses by itself: no JSON, too large, another media type.
  if (
    error instanceof Error &&
    'statusCode' in error &&
    typeof error.statusCode === 'number' &&
    error.statusCode < 500
  ) {
    return new SallyportError('invalid_argument', `The request cannot be read: ${error.message}.`);
  }
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`sallyport: the vault failed inside: ${why.replaceAll('\n', ' | ')}\n`);
  return new SallyportError('internal', 'The vault failed inside: see the output of `sallyport serve`.');
}
