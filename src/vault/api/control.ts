import { PassThrough } from 'node:stream';
import Fastify, { type FastifyInstance } from 'fastify';
import { parseService } from '../../catalog/service.ts';
import {
  agentAuthority,
  listAgents,
  listCredentials,
  listGrants,
  listServices,
  showService,
} from '../../store/list.ts';
import type { PolicyRows } from '../../store/schema.ts';
import type { Agents } from '../agents/agents.ts';
import type { ProxyRoots } from '../authorities/proxy-roots.ts';
import type { Backups } from '../backup/backups.ts';
import type { BornKeys } from '../credentials/born-keys.ts';
import type { Credentials } from '../credentials/credentials.ts';
import type { Grants } from '../grants/grants.ts';
import type { IntegrityDesk } from '../lifecycle/integrity.ts';
import type { Rotation } from '../lifecycle/rotation.ts';
import type { CredentialVersions } from '../lifecycle/versions.ts';
import type { Services } from '../services/services.ts';
import { backupRoutes } from './backups.ts';
import { answerErrors } from './errors.ts';
import { integrityRoutes } from './integrity.ts';
import { rotationRoutes } from './rotation.ts';
import {
  AgentChange,
  ById,
  ByName,
  NewAgent,
  NewCredential,
  NewGrant,
  NewKey,
  NewServices,
  NewToken,
  OldGrant,
} from './shapes.ts';
import { versionRoutes } from './versions.ts';

/** A list of 1,000 service definitions fits. */
const BODY_BYTES = 8 * 1024 * 1024;

export interface ControlParts {
  /** The policy's rows as they are in force. Throws hsm_unavailable before they are authenticated. */
  rows(): PolicyRows;
  status(): Promise<unknown>;
  /** The intake key's public point. Throws hsm_unavailable. */
  intakePublicKey(): Buffer;
  readonly agents: Agents;
  readonly proxyRoots: ProxyRoots;
  readonly services: Services;
  readonly credentials: Credentials;
  readonly bornKeys: BornKeys;
  readonly grants: Grants;
  readonly integrity: IntegrityDesk;
  readonly backups: Backups;
  readonly rotation: Rotation;
  readonly versions: CredentialVersions;
}

/** The API that the command line uses, over a socket that only the vault's owner can open. No clear secret passes it. */
export function controlApi(parts: ControlParts): FastifyInstance {
  const app = Fastify({ bodyLimit: BODY_BYTES, exposeHeadRoutes: false, forceCloseConnections: true });
  answerErrors(app);
  app.get('/v1/status', () => parts.status());
  app.get('/v1/intake', () => ({ publicKey: parts.intakePublicKey().toString('hex') }));
  agentRoutes(app, parts);
  authorityRoutes(app, parts);
  policyRoutes(app, parts);
  integrityRoutes(app, parts.integrity);
  backupRoutes(app, parts.backups);
  rotationRoutes(app, parts.rotation);
  versionRoutes(app, parts.versions);
  return app;
}

function agentRoutes(app: FastifyInstance, { rows, agents }: ControlParts): void {
  app.get('/v1/agents', () => listAgents(rows()));
  app.post('/v1/agents', async (request) => {
    const { name, tokenHash, unlisted } = NewAgent.parse(request.body);
    const added = await agents.add(name, tokenHash, unlisted);
    return { ...added, ca: agentAuthority(rows(), name) };
  });
  app.post('/v1/agents/:name/rotate', (request) => {
    const { tokenHash } = NewToken.parse(request.body);
    return agents.rotate(ByName.parse(request.params).name, tokenHash);
  });
  app.post('/v1/agents/:name/rotate-ca', async (request) => {
    const { name } = ByName.parse(request.params);
    return { ...(await agents.rotateAuthority(name)), ca: agentAuthority(rows(), name) };
  });
  app.post('/v1/agents/:name/retire-ca', async (request) => {
    const { name } = ByName.parse(request.params);
    return { ...(await agents.retireAuthority(name)), ca: agentAuthority(rows(), name) };
  });
  app.patch('/v1/agents/:name', (request) => {
    const { unlisted } = AgentChange.parse(request.body);
    return agents.setUnlisted(ByName.parse(request.params).name, unlisted);
  });
  app.delete('/v1/agents/:name', async (request) => {
    await agents.remove(ByName.parse(request.params).name);
    return {};
  });
  app.get('/v1/agents/:name/ca', (request) => ({
    pem: agentAuthority(rows(), ByName.parse(request.params).name),
  }));
  // A token that counts for as long as this answer stays open.
  app.post('/v1/agents/:name/sessions', async (request, reply) => {
    const { tokenHash } = NewToken.parse(request.body);
    const end = await agents.openSession(ByName.parse(request.params).name, tokenHash);
    const stream = new PassThrough();
    const close = (): void => {
      stream.end();
      end().catch((error: unknown) =>
        process.stderr.write(`sallyport: a run's token stays: ${String(error)}\n`),
      );
    };
    if (request.raw.socket.destroyed) close();
    else request.raw.socket.once('close', close);
    stream.write('{"ready":true}\n');
    return reply.type('application/x-ndjson').send(stream);
  });
}

/** The authority of the proxy's own TLS listener. */
function authorityRoutes(app: FastifyInstance, { proxyRoots }: ControlParts): void {
  app.post('/v1/authority/rotate', () => proxyRoots.rotate());
  app.post('/v1/authority/retire', () => proxyRoots.retire());
}

function policyRoutes(
  app: FastifyInstance,
  { rows, services, credentials, bornKeys, grants }: ControlParts,
): void {
  app.get('/v1/services', () => listServices(rows()));
  app.get('/v1/services/:id', (request) => showService(rows(), ById.parse(request.params).id));
  app.post('/v1/services', (request) => {
    const list = NewServices.parse(request.body).services;
    return services.put(
      list.map((json, index) => parseService(json, list.length > 1 ? `services[${index}]` : '')),
    );
  });
  app.get('/v1/credentials', () => listCredentials(rows()));
  app.put('/v1/credentials', (request) => {
    const { sealed, ...rest } = NewCredential.parse(request.body);
    return credentials.set({ ...rest, ...sealed });
  });
  app.post('/v1/credentials/keys', (request) => {
    const { type, ...input } = NewKey.parse(request.body);
    return bornKeys.create(input, type);
  });
  app.get('/v1/credentials/:id/key', (request) => bornKeys.publicKey(ById.parse(request.params).id));
  app.delete('/v1/credentials/:id', (request) => credentials.remove(ById.parse(request.params).id));
  app.get('/v1/grants', () => listGrants(rows()));
  app.put('/v1/grants', (request) => {
    const { agent, service, label, methods, paths } = NewGrant.parse(request.body);
    // An empty list narrows nothing, and must not widen a grant that is there.
    const narrowing = { ...(methods?.length && { methods }), ...(paths?.length && { paths }) };
    return grants.put(agent, service, label, narrowing);
  });
  app.delete('/v1/grants', async (request) => {
    const { agent, service, label } = OldGrant.parse(request.query);
    await grants.remove(agent, service, label);
    return {};
  });
}
