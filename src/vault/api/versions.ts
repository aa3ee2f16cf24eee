import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { CredentialVersions } from '../lifecycle/versions.ts';

const Text = z.string().min(1).max(253);
const Version = z.number().int().min(1);
const Known = z.strictObject({ service: Text, label: Text.default('default') });
const Which = z.union([z.strictObject({ id: Text }), Known]);
const RollbackInput = Known.extend({ to: Version.optional() });
const ShredInput = z.strictObject({ version: Version });

export function versionRoutes(app: FastifyInstance, versions: CredentialVersions): void {
  app.get('/v1/versions', (request) => versions.list(Which.parse(request.query)));
  app.post('/v1/versions/rollback', (request) => {
    const { service, label, to } = RollbackInput.parse(request.body);
    return versions.rollback(service, label, to);
  });
  app.post('/v1/credentials/:id/shred', (request) => {
    const { id } = z.object({ id: z.string().min(1).max(64) }).parse(request.params);
    return versions.shred(id, ShredInput.parse(request.body).version);
  });
}
