import Fastify, { type FastifyInstance } from 'fastify';
import type { Readiness } from '../readiness.ts';
import { answerErrors } from './errors.ts';

/** The API on TCP: for now what a monitor asks for. Nothing of the policy, and of what is wrong no more than codes. */
export function publicApi(version: string, readiness: Readiness): FastifyInstance {
  const app = Fastify({ bodyLimit: 16 * 1024, exposeHeadRoutes: false, forceCloseConnections: true });
  answerErrors(app);
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const reasons = await readiness.reasons();
    return reply
      .code(reasons.length === 0 ? 200 : 503)
      .send({ status: reasons.length === 0 ? 'ready' : 'unready', reasons });
  });
  app.get('/v1/version', () => ({ version }));
  return app;
}
