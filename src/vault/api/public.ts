import Fastify, { type FastifyInstance } from 'fastify';
import { answerErrors } from './errors.ts';

/** The API on TCP: for now what a monitor asks for. Nothing of the policy. */
export function publicApi(version: string): FastifyInstance {
  const app = Fastify({ bodyLimit: 16 * 1024, exposeHeadRoutes: false, forceCloseConnections: true });
  answerErrors(app);
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/v1/version', () => ({ version }));
  return app;
}
