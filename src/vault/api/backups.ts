import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { BackupPart } from '../../backup/format.ts';
import type { Backups } from '../backup/backups.ts';

const NewBackup = z.strictObject({
  installation: z.string().max(32 * 1024),
  token: BackupPart.nullable(),
});

export function backupRoutes(app: FastifyInstance, backups: Backups): void {
  app.post('/v1/backups', async (request, reply) =>
    reply.type('application/octet-stream').send(await backups.create(NewBackup.parse(request.body))),
  );
}
