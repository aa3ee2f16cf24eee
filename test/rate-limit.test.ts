import fc from 'fast-check';
import t from 'tap';
import { RateLimit } from '../src/rate-limit.ts';

t.test(
  'a burst goes at once, what follows waits its turn, what would wait too long is refused',
  async (t) => {
    const rate = new RateLimit({ perSecond: 10, burst: 3, maxWaitMs: 250 });
    const waits = Array.from({ length: 7 }, () => rate.take('a', 1_000));
    t.same(waits, [0, 0, 0, 100, 200, undefined, undefined]);
    t.equal(rate.take('b', 1_000), 0, 'another key has a bucket of its own');
    t.equal(rate.take('a', 1_100), 200, 'a refusal has cost nothing');
    t.equal(rate.take('a', 5_000), 0, 'after a rest the bucket is full again');
  },
);

t.test('no more than the burst and the rate ever go, whatever the times', async () => {
  const pauses = fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 9 }),
      pauses,
      (perSecond, burst, steps) => {
        const rate = new RateLimit({ perSecond, burst, maxWaitMs: 0 });
        let now = 0;
        const taken: number[] = [];
        for (const pause of steps) {
          now += pause;
          if (rate.take('a', now) !== undefined) taken.push(now);
        }
        for (const [i, from] of taken.entries()) {
          for (const [j, to] of taken.entries()) {
            if (j >= i && j - i + 1 > burst + ((to - from) * perSecond) / 1_000 + 1e-6) return false;
          }
        }
        return taken[0] === steps[0];
      },
    ),
    { numRuns: 500 },
  );
});

t.test('keys that are full again are forgotten', async (t) => {
  const rate = new RateLimit({ perSecond: 1_000, burst: 1, maxWaitMs: 0 });
  for (let i = 0; i < 50_000; i++) rate.take(`agent-${i}`, i);
  const kept: unknown = Reflect.ownKeys(rate);
  t.same(kept, [], 'its state is private');
  t.equal(rate.take('agent-49999', 49_999), undefined, 'what is not full is kept');
});
