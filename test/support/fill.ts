import { randomBytes } from 'node:crypto';
import { parseService } from '../../src/catalog/service.ts';
import { decodeFields } from '../../src/sealing/fields.ts';
import { openReadOnly, openWritable, type Store } from '../../src/store/open.ts';
import type { PolicyRow } from '../../src/store/schema.ts';
import { newId, UNSIGNED } from '../../src/vault/changes.ts';
import { openVersion, sealVersion } from '../../src/vault/credentials/versions.ts';
import { TokenAnchor } from '../../src/vault/integrity/anchor-place.ts';
import { KeyholderClient } from '../../src/vault/keyholder.ts';
import { wrappings } from '../../src/vault/lifecycle/wrapping.ts';
import { Policy } from '../../src/vault/policy/policy.ts';
import { draftService } from '../../src/vault/services/services.ts';
import { type RunningKeyholder, type SoftHsm, startKeyholder } from './softhsm.ts';

const BATCH = 1_000;

/** A database that no vault has open, and the token that it belongs to. */
export interface Filled {
  readonly database: string;
  readonly hsm: SoftHsm;
}

/**
 * Puts `count` credentials (two rows each) of `service` into the database, sealed and signed by its token as a vault does
 * it, only faster. Labels are `filled-N`, values random.
 */
export async function fill({ database, hsm }: Filled, service: object, count: number): Promise<void> {
  const keyholder = await startKeyholder(hsm);
  try {
    await withPolicy(await openWritable(database), keyholder, (policy, client) =>
      put(policy, client, service, count),
    );
  } finally {
    await keyholder.stop();
  }
}

/**
 * How many of the database's sealed credentials open with `keyholder`'s token, and which KEKs all DEKs are wrapped with. A
 * vault may have the database open, but must not be writing to it.
 */
export async function openAll(
  database: string,
  keyholder: RunningKeyholder,
): Promise<{ opened: number; keks: readonly string[] }> {
  return withPolicy(await openReadOnly(database), keyholder, async (policy, client) => {
    if (policy.failures.length > 0) throw new Error(JSON.stringify(policy.failures));
    const { state } = policy;
    let opened = 0;
    for (const version of state.rows().credential_versions) {
      const credential = state.credential(version.credential);
      const service = credential && state.service(credential.service);
      if (!credential || !service || version.sealed === null) continue;
      const plaintext = await openVersion(client, service, credential, version);
      opened += decodeFields(plaintext).length;
    }
    return { opened, keks: [...new Set([...wrappings(state)].map(({ kek }) => kek))] };
  });
}

async function withPolicy<T>(
  store: Store,
  keyholder: RunningKeyholder,
  work: (policy: Policy, client: KeyholderClient) => Promise<T>,
): Promise<T> {
  const client = new KeyholderClient((_name, reason) => {
    throw new Error(reason);
  });
  try {
    await client.connect('keyholder', keyholder.channel);
    const policy = new Policy(store, client, new TokenAnchor(client));
    await policy.load();
    return await work(policy, client);
  } finally {
    store.close();
  }
}

async function put(policy: Policy, client: KeyholderClient, service: object, count: number): Promise<void> {
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
}
