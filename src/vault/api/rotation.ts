import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { SallyportError } from '../../errors.ts';
import type { Rotation } from '../lifecycle/rotation.ts';

const Retirement = z.strictObject({ kek: z.string().min(1).max(64) });

export function rotationRoutes(app: FastifyInstance, rotation: Rotation): void {
  // NDJSON: a line of progress after each batch; where it fails half-way `{"error":{code,message}}` is the last.
  app.post('/v1/hsm/rotate', async (_request, reply) => {
    const steps = rotation.rotate();
    const first = await steps.next(); // what is refused at once is an answer like any other
    return reply.type('application/x-ndjson').send(Readable.from(lines(first, steps)));
  });
  app.post('/v1/hsm/retire', async (request) => {
    const { kek } = Retirement.parse(request.body);
    await rotation.retire(kek);
    return { retired: kek };
  });
}

async function* lines<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<string> {
  try {
    if (!first.done) yield `${JSON.stringify(first.value)}\n`;
    for await (const step of rest) yield `${JSON.stringify(step)}\n`;
  } catch (error) {
    const code = error instanceof SallyportError ? error.code : 'internal';
    const message = error instanceof Error ? error.message : String(error);
    yield `${JSON.stringify({ error: { code, message } })}\n`;
  } finally {
    await rest.return(undefined); // whoever asked is gone: the batches that are left wait for the next call
  }
}
