import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { Arena } from '../../../src/proxy/secrets/arena.ts';
import { HotSecrets, type Lease } from '../../../src/proxy/secrets/hot-secrets.ts';

const token = (value: string) => [{ name: 'token', secret: true, value: Buffer.from(value) }];
const bytes = (lease: Lease | undefined) => lease?.fields.get('token')?.value;
const isWiped = (value: Buffer | undefined) => value?.every((byte) => byte === 0);

function hot(options: { count?: number; maxAgeMs?: number; arenaBytes?: number; now?: () => number } = {}) {
  const { count = 10, maxAgeMs = 60_000, arenaBytes = 4096, now } = options;
  const arena = new Arena(arenaBytes);
  return { arena, secrets: new HotSecrets({ count, maxAgeMs, arena, ...(now ? { now } : {}) }) };
}

t.test('gives back what was put, until it is removed', async (t) => {
  const { secrets, arena } = hot();
  secrets
    .put('c:1', [...token('s3cret'), { name: 'user', secret: false, value: Buffer.from('me') }])
    .release();
  const lease = secrets.get('c:1');
  t.equal(bytes(lease)?.toString(), 's3cret');
  t.same(
    [...(lease?.fields ?? [])].map(([name, { secret, value }]) => [name, secret, value.toString()]),
    [
      ['token', true, 's3cret'],
      ['user', false, 'me'],
    ],
  );
  lease?.release();
  t.equal(secrets.size, 1);
  secrets.remove('c:1');
  t.equal(secrets.get('c:1'), undefined);
  t.equal(arena.used, 0);
});

t.test('wipes at once without a lease, else when the last one ends', async (t) => {
  const { secrets, arena } = hot();
  const first = secrets.put('a', token('aaaaaaa'));
  const second = secrets.get('a');
  const value = bytes(first);
  secrets.remove('a');
  first.release();
  first.release(); // releasing twice does not end the other's hold
  t.equal(value?.toString(), 'aaaaaaa');
  second?.release();
  t.ok(isWiped(value));
  t.equal(arena.used, 0);
});

t.test('a released lease gives nothing more', async (t) => {
  const { secrets } = hot();
  const lease = secrets.put('a', token('aaaaaaa'));
  lease.release();
  t.throws(() => lease.fields, /after its lease was released/);
});

t.test('a replaced secret is gone for the next request', async (t) => {
  const { secrets, arena } = hot();
  const old = secrets.put('a', token('old'));
  const oldValue = bytes(old);
  secrets.put('a', token('new')).release();
  const lease = secrets.get('a');
  t.equal(bytes(lease)?.toString(), 'new');
  t.equal(oldValue?.toString(), 'old');
  old.release();
  t.ok(isWiped(oldValue));
  lease?.release();
  t.equal(arena.used, 16);
});

t.test('is wiped by age in an idle worker, however often it was used', async (t) => {
  const { secrets, arena } = hot({ maxAgeMs: 80 });
  secrets.put('a', token('aaaaaaa')).release();
  await sleep(50);
  secrets.get('a')?.release();
  t.equal(arena.used, 16);
  await sleep(60);
  t.equal(arena.used, 0); // nothing asked for it
  t.equal(secrets.get('a'), undefined);
});

t.test('its timers keep no process alive', async (t) => {
  const { secrets } = hot();
  secrets.put('a', token('aaaaaaa')).release();
  t.notOk(process.getActiveResourcesInfo().includes('Timeout'));
  secrets.clear();
});

t.test('keeps no more than its count, and drops the least recently used', async (t) => {
  const { secrets, arena } = hot({ count: 2 });
  secrets.put('a', token('a')).release();
  secrets.put('b', token('b')).release();
  secrets.get('a')?.release();
  secrets.put('c', token('c')).release();
  t.equal(secrets.get('b'), undefined);
  t.equal(secrets.size, 2);
  t.equal(arena.used, 32);
});

t.test('makes room in a full arena, and refuses where leases leave none', async (t) => {
  const { secrets, arena } = hot({ arenaBytes: 64 });
  const held = secrets.put('a', token('a'.repeat(32)));
  secrets.put('b', token('b'.repeat(32))).release();
  const next = secrets.put('c', token('c'.repeat(32)));
  t.equal(secrets.get('b'), undefined);
  t.throws(() => secrets.put('d', token('d'.repeat(32))), { code: 'internal' });
  t.equal(bytes(held)?.toString(), 'a'.repeat(32));
  t.equal(bytes(next)?.toString(), 'c'.repeat(32));
  held.release();
  next.release();
  t.equal(arena.used, 0);
});

t.test('a put that fails half-way leaves nothing behind', async (t) => {
  const { secrets, arena } = hot({ arenaBytes: 64 });
  t.throws(() => secrets.put('a', [...token('a'.repeat(32)), ...token('b'.repeat(64))]), {
    code: 'internal',
  });
  t.equal(arena.used, 0);
});

t.test('retains what a snapshot still allows', async (t) => {
  const { secrets, arena } = hot();
  for (const key of ['a', 'b', 'c']) secrets.put(key, token(key)).release();
  secrets.retain(new Set(['b']));
  t.equal(secrets.size, 1);
  t.equal(arena.used, 16);
  secrets.clear();
  t.equal(arena.used, 0);
});

t.test('retaining wipes what is past its age too, before its timer fires', async (t) => {
  let now = 1;
  const { secrets, arena } = hot({ maxAgeMs: 1000, now: () => now });
  secrets.put('a', token('a')).release();
  now = 2000;
  secrets.retain(new Set(['a']));
  t.equal(arena.used, 0);
});

t.test('20,000 credentials pass through: bounded, all in the locked arena', async (t) => {
  const { secrets, arena } = hot({ count: 500, arenaBytes: 64 * 1024 });
  for (let i = 0; i < 20_000; i++) secrets.put(`c${i}`, token(`secret-${i}`.padEnd(40, 'x'))).release();
  t.equal(secrets.size, 500);
  t.equal(arena.used, 500 * 48);
});

t.test('50,000 histories: no wipe under a lease, no secret after its last one', async (t) => {
  const COUNT = 3;
  const MAX_AGE = 50;
  const ROOM = 5;
  const arena = new Arena(16 * ROOM); // full now and then
  const seen = { leased: 0, refused: 0, expired: 0, evicted: 0 };
  // A step: which action, on which of five keys or which lease.
  const history = fc.array(fc.nat({ max: 8 * 40 - 1 }), { minLength: 4, maxLength: 30, size: 'max' });
  fc.assert(
    fc.property(history, (steps) => {
      let now = 1;
      let mark = 0;
      const secrets = new HotSecrets({ count: COUNT, maxAgeMs: MAX_AGE, arena, now: () => now });
      const leases: { lease: Lease; value: Buffer; mark: number }[] = [];
      /** What the cache may give out: key → mark and time of the newest put; the count's bound is checked by size. */
      const newest = new Map<string, { mark: number; at: number }>();
      const take = (lease: Lease, expected: number) => {
        const value = lease.fields.get('s')?.value;
        if (!value || value.some((byte) => byte !== expected)) throw new Error('a lease on the wrong bytes');
        leases.push({ lease, value, mark: expected });
        seen.leased++;
      };
      for (const step of steps) {
        const which = step >> 3;
        const key = `k${which % 5}`;
        switch (step & 7) {
          case 0:
          case 1: {
            mark = (mark % 255) + 1;
            newest.delete(key);
            try {
              const value = Buffer.alloc(1 + (which % 16), mark);
              take(secrets.put(key, [{ name: 's', secret: true, value }]), mark);
              newest.set(key, { mark, at: now });
            } catch (error) {
              if (new Set(leases.map(({ value }) => value.byteOffset)).size < ROOM) throw error;
              seen.refused++;
            }
            break;
          }
          case 2:
          case 3: {
            const lease = secrets.get(key);
            const known = newest.get(key);
            if (lease) {
              if (!known || now - known.at > MAX_AGE) throw new Error('a secret that should be gone');
              take(lease, known.mark);
            } else if (known) {
              if (now - known.at > MAX_AGE) seen.expired++;
              else seen.evicted++;
              newest.delete(key);
            }
            break;
          }
          case 4:
          case 5: {
            const [ended] = leases.length > 0 ? leases.splice(which % leases.length, 1) : [];
            ended?.lease.release();
            ended?.lease.release();
            break;
          }
          case 6:
            now += which;
            break;
          default:
            if (which < 10) {
              secrets.retain(new Set([key]));
              for (const other of newest.keys()) if (other !== key) newest.delete(other);
            } else {
              secrets.remove(key);
              newest.delete(key);
            }
        }
        if (secrets.size > COUNT) throw new Error('more than the count');
        for (const { value, mark } of leases) {
          if (value.some((byte) => byte !== mark)) throw new Error('wiped under a lease');
        }
        // Every slot taken belongs to the cache or to a lease: what is neither is wiped.
        const leased = new Set(leases.map(({ value }) => value.byteOffset)).size;
        if (arena.used > 16 * (leased + secrets.size)) throw new Error('a secret outlived its last lease');
      }
      secrets.clear();
      const leased = new Set(leases.map(({ value }) => value.byteOffset)).size;
      if (arena.used !== 16 * leased) throw new Error('clear left a secret');
      for (const { lease } of leases) lease.release();
      if (arena.used !== 0) throw new Error('a secret outlived its last lease');
    }),
    { numRuns: 50_000 },
  );
  t.comment(JSON.stringify(seen));
  for (const [what, count] of Object.entries(seen)) t.ok(count > 1000, `histories had ${what}`);
});
