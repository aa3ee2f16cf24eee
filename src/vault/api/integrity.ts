import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { IntegrityDesk } from '../lifecycle/integrity.ts';

const Acceptance = z.strictObject({
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'it is the digest in lower-case hex that the check shows'),
});

export function integrityRoutes(app: FastifyInstance, integrity: IntegrityDesk): void {
  app.get('/v1/integrity', () => integrity.check());
  app.post('/v1/integrity/accept', (request) => integrity.accept(Acceptance.parse(request.body).digest));
}
