import { generateKeyPairSync } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Issuer } from '../src/vault/authorities/issuer.ts';
import { agentRoot } from '../src/vault/authorities/root.ts';
import { type AuthorityKeys, RootKeys } from '../src/vault/authorities/root-keys.ts';
import { KeyholderClient } from '../src/vault/keyholder.ts';
import { makeToken, startKeyholder } from '../test/support/softhsm.ts';

/**
 * What a certificate costs in the vault, with a real keyholder on SoftHSM: `leaf` from an issuing authority that is
 * there, and `first` with a new issuing authority, which the root signs (once a week, and when grants change).
 *
 *   node bench/minting.ts [--leaves N] [--firsts N]
 *
 * Prints JSON, milliseconds; `cpu` is this process's processor time for each, which a busy machine does not change. Exits
 * 1 where the median of a leaf is over its limit.
 */
const LIMIT_MS: Readonly<Record<AuthorityKeys, number>> = { wrapped: 1, hsm: 1.5 };
const WARM_UP = 200;

const { values } = parseArgs({
  options: { leaves: { type: 'string', default: '2000' }, firsts: { type: 'string', default: '500' } },
});
const spki = generateKeyPairSync('ec', {
  namedCurve: 'prime256v1',
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
}).publicKey;

const { hsm } = makeToken('bench');
const running = await startKeyholder(hsm);
try {
  const keyholder = new KeyholderClient((_name, reason) => process.stderr.write(`keyholder: ${reason}\n`));
  await keyholder.connect('keyholder-1', running.channel);
  await keyholder.opened();
  const results = [await measure(keyholder, 'wrapped'), await measure(keyholder, 'hsm')];
  process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  if (results.some(({ limit, leaf }) => leaf.median > limit)) process.exitCode = 1;
} finally {
  await running.stop();
  hsm.remove();
}

async function measure(keyholder: KeyholderClient, keys: AuthorityKeys) {
  const rootKeys = new RootKeys(keyholder, keys);
  const agent = { id: `agt_${keys === 'hsm' ? '1'.repeat(32) : '2'.repeat(32)}`, name: 'bench' };
  const stored = await rootKeys.create(agentRoot(agent, 1));
  const root = rootKeys.signing(() => stored);
  const made = new Issuer({ root, hosts: ['*.bench.example'] });
  let number = 0;
  const leaf = await timed(Number(values.leaves), () => made.leaf(`h${number++}.bench.example`, spki));
  const first = await timed(Number(values.firsts), async () => {
    const issuer = new Issuer({ root, hosts: ['*.bench.example'] });
    await issuer.leaf('first.bench.example', spki);
    issuer.close();
  });
  made.close();
  await rootKeys.destroy([stored]);
  return { keys, limit: LIMIT_MS[keys], leaf, first };
}

/** Milliseconds of `rounds` runs, one after another, after some that are not counted. */
async function timed(
  rounds: number,
  run: () => Promise<unknown>,
): Promise<Record<'median' | 'p99' | 'cpu', number>> {
  for (let round = 0; round < WARM_UP; round++) await run();
  const times: number[] = [];
  const before = process.cpuUsage();
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  const { user, system } = process.cpuUsage(before);
  times.sort((a, b) => a - b);
  const at = (share: number): number => Number((times[Math.floor(times.length * share)] ?? 0).toFixed(3));
  return { median: at(0.5), p99: at(0.99), cpu: Number(((user + system) / rounds / 1000).toFixed(3)) };
}
