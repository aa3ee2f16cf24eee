import { randomBytes } from 'node:crypto';
import { parseService } from '../../src/catalog/service.ts';
import { openWritable } from '../../src/store/open.ts';
import type { PolicyRow } from '../../src/store/schema.ts';
import { newId, UNSIGNED } from '../../src/vault/changes.ts';
import { sealVersion } from '../../src/vault/credentials/versions.ts';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { Policy } from '../../src/vault/policy/policy.ts';
import { draftService } from '../../src/vault/services/services.ts';
import { type SoftHsm, startKeyholder } from './softhsm.ts';

const BATCH = 1_000;

/**
 * Puts `count` credentials (two rows each) of `service` into a database that no vault has open, sealed and signed by its
 * token as a vault does it, only faster. Labels are `filled-N`, values random.
 */
export async function fill(
  { database, hsm }: { readonly database: string; readonly hsm: SoftHsm },
  service: object,
  count: number,
): Promise<void> {
  const keyholder = await startKeyholder(hsm);
  const client = new KeyholderClient((_name, reason) => {
    throw new Error(reason);
  });
  const store = await openWritable(database);
  try {
    await client.connect('keyholder', keyholder.channel);
    const policy = new Policy(store, client);
    await policy.load();
    const now = new Date().toISOString();
    const definition = parseService(service);
    const row = policy.state.service(definition.id) ?? draftService(definition, now);
    if (!policy.state.service(row.id)) await policy.commit([{ table: 'services', row }]);
    for (let done = 0; done < count; done += BATCH) {
      const numbers = Array.from({ length: Math.min(BATCH, count - done) }, (_, index) => done + index);
      const rows = numbers.map(async (number): Promise<PolicyRow[]> => {
        const credential = {
          ...{ ...UNSIGNED, id: newId('crd'), service: row.id, label: `filled-${number}` },
          ...{ current_version: 1, public_fields: '{}', created_at: now, removed_at: null },
        };
        const secrets = [{ name: 'token', value: randomBytes(24) }];
        const version = await sealVersion(client, row, credential, secrets, now);
        return [
          { table: 'credentials', row: credential },
          { table: 'credential_versions', row: version },
        ];
      });
      await policy.commit((await Promise.all(rows)).flat());
    }
    await policy.anchor();
  } finally {
    store.close();
    await keyholder.stop();
  }
}
