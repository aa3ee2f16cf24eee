import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { PolicyRows } from '../../store/schema.ts';
import { listVersions } from '../../store/versions.ts';
import type { CredentialVersions } from '../lifecycle/versions.ts';

const Text = z.string().min(1).max(253);
const Version = z.number().int().min(1);
const Which = z.strictObject({ service: Text, label: Text.default('default') });
const RollbackInput = Which.extend({ to: Version.optional() });
const ShredInput = z.strictObject({ version: Version });

export function versionRoutes(
  app: FastifyInstance,
  rows: () => PolicyRows,
  versions: CredentialVersions,
): void {
  app.get('/v1/versions', (request) => {
    const { service, label } = Which.parse(request.query);
    return listVersions(rows(), service, label);
  });
  app.post('/v1/versions/rollback', (request) => {
    const { service, label, to } = RollbackInput.parse(request.body);
    return versions.rollback(service, label, to);
  });
  app.post('/v1/credentials/:id/shred', (request) => {
    const { id } = z.object({ id: z.string().min(1).max(64) }).parse(request.params);
    return versions.shred(id, ShredInput.parse(request.body).version);
  });
}
