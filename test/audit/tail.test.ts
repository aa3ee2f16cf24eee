import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import type { JournalWriter } from '../../src/audit/journal.ts';
import type { AuditedRequest } from '../../src/audit/outcomes.ts';
import type { OutcomeRecord } from '../../src/audit/record.ts';
import { type TailOptions, tailEverything, tailRequests } from '../../src/audit/tail.ts';
import { JournalFolder, requestRecord, writeBatch, writeHead } from './folder.ts';

const at = (ms: number): string => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();

const outcome = (id: number, fields: Partial<OutcomeRecord> = {}): OutcomeRecord => ({
  type: 'outcome',
  id,
  time: at(0),
  status: 200,
  error: null,
  overheadMs: 0.25,
  totalMs: 3,
  bytesUp: 1,
  bytesDown: 2,
  ...fields,
});

async function collect(folder: JournalFolder, options: Partial<TailOptions> = {}): Promise<AuditedRequest[]> {
  const onDamage = (): void => {
    t.fail('a damaged line');
  };
  const requests: AuditedRequest[] = [];
  for await (const request of tailRequests(folder.path, { last: 'all', onDamage, ...options }))
    requests.push(request);
  return requests;
}

const paths = (requests: AuditedRequest[]): string[] => requests.map(({ path }) => path);

/** Two workers and the vault; request k at millisecond k, the workers in turn; each batch one request. */
async function interleaved(
  t: Tap,
  count: number,
  size = 10,
): Promise<{ folder: JournalFolder; workers: JournalWriter[] }> {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const vault = folder.open('vault-1', new Date(at(0)));
  const workers = [1, 2].map((slot) => folder.open(`worker-${slot}-1`, new Date(at(0))));
  for (let k = 0; k < count; k++) {
    const worker = workers[k % 2];
    if (!worker) throw new Error('two workers');
    await writeBatch(worker, requestRecord(k, { time: at(k), path: `/${k}`.padEnd(size, 'x') }));
    if (k % 10 === 0) await writeHead(vault, worker);
  }
  return { folder, workers };
}
type Tap = Pick<typeof t, 'teardown'>;

t.test('all requests of all workers come in the order of their times, and only requests', async (t) => {
  const { folder } = await interleaved(t, 100);
  t.same(
    paths(await collect(folder)),
    Array.from({ length: 100 }, (_, k) => `/${k}`.padEnd(10, 'x')),
  );
});

t.test("everything is that, and the vault's own records between, in the order of their times", async (t) => {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const vault = folder.open('vault-1', new Date(at(0)));
  const worker = folder.open('worker-1-1', new Date(at(0)));
  const own = { type: 'admin', time: at(2), action: 'hsm.retire', subject: 'kek', detail: {} } as const;
  // The first waits for its outcome, which comes after the vault's record: it stays the first.
  await writeBatch(worker, requestRecord(1, { time: at(1), path: '/1', decision: 'injected' }));
  await writeBatch(vault, own);
  await writeHead(vault, worker);
  await writeBatch(worker, outcome(1, { time: at(3) }), requestRecord(2, { time: at(4), path: '/2' }));
  const onDamage = () => t.fail('a damaged line');
  const entries = [];
  for await (const entry of tailEverything(folder.path, { onDamage })) entries.push(entry);
  t.match(entries, [{ path: '/1', status: 200 }, own, { path: '/2' }]);
  t.equal(entries.length, 3, 'no head and no checkpoint');
  t.same(paths(await collect(folder)), ['/1', '/2']);
});

t.test('the last n are the end of all, however far back in the files they reach', async (t) => {
  const { folder } = await interleaved(t, 400, 2000); // 400 KB a file
  const all = paths(await collect(folder));
  for (const last of [0, 1, 2, 3, 50, 170, 399, 400, 401, 100_000]) {
    t.same(paths(await collect(folder, { last })), last === 0 ? [] : all.slice(-last), `${last}`);
  }
});

t.test('a request is shown with its fields, and with its outcome where there is one', async (t) => {
  const folder = new JournalFolder();
  t.teardown(() => folder.remove());
  const worker = folder.open('worker-1-1', new Date(at(0)));
  await writeBatch(worker, requestRecord(1, { time: at(1) }), requestRecord(2, { time: at(2) }));
  const denied = requestRecord(3, {
    time: at(3),
    decision: 'denied',
    reason: 'host_not_granted',
    service: null,
    credential: null,
    version: null,
  });
  await writeBatch(worker, denied, outcome(2, { status: null, error: 'upstream_timeout' }));
  await writeBatch(worker, { type: 'scrub', id: 1, time: at(4), where: 'body', hits: 2 }, outcome(1));
  const common = { agent: 'agent-1', method: 'GET', host: 'api.example.com', port: 443 };
  const expected = [
    {
      ...common,
      time: at(1),
      path: '/items/1',
      service: 'example',
      credential: 'credential-1',
      version: 1,
      decision: 'injected',
      reason: 'grant-1',
      status: 200,
      error: null,
      overheadMs: 0.25,
    },
    {
      ...common,
      time: at(2),
      path: '/items/2',
      service: 'example',
      credential: 'credential-1',
      version: 1,
      decision: 'injected',
      reason: 'grant-1',
      status: null,
      error: 'upstream_timeout',
      overheadMs: 0.25,
    },
    {
      ...common,
      time: at(3),
      path: '/items/3',
      service: null,
      credential: null,
      version: null,
      decision: 'denied',
      reason: 'host_not_granted',
      status: null,
      error: null,
      overheadMs: null,
    },
  ];
  t.same(await collect(folder), expected);
  t.same(await collect(folder, { last: 10 }), expected);
  t.same(await collect(folder, { last: 2 }), expected.slice(1));
});

t.test(
  'a torn batch does not count; a damaged line is passed over and told of, once for its file',
  async (t) => {
    const { folder, workers } = await interleaved(t, 4);
    const [first, second] = workers;
    if (!first || !second) throw new Error('two workers');
    folder.write(first.fileName, `${folder.read(first.fileName)}${JSON.stringify(requestRecord(9))}\n{"li`);
    folder.edit(second.fileName, (lines) =>
      lines.map((line) => (line.startsWith('{"type"') ? '{"type":"request"}' : line)),
    );
    for (const last of ['all', 10] as const) {
      const damaged: string[] = [];
      const requests = await collect(folder, { last, onDamage: ({ fileName }) => damaged.push(fileName) });
      t.same(paths(requests), ['/0xxxxxxxx', '/2xxxxxxxx']);
      t.same(damaged, [second.fileName]);
    }
  },
);

for (const last of ['all', 2, 0] as const) {
  t.test(
    `following from the last ${last} shows what comes, in old files and in new ones, once`,
    async (t) => {
      const { folder, workers } = await interleaved(t, 4);
      const [first] = workers;
      if (!first) throw new Error('two workers');
      const stop = new AbortController();
      const seen: string[] = [];
      const until = async (count: number): Promise<void> => {
        for (let i = 0; i < 100 && seen.length < count; i++) await setTimeout(20);
      };
      const following = (async () => {
        const onDamage = (): void => {
          t.fail('a damaged line');
        };
        for await (const { path, status } of tailRequests(folder.path, {
          last,
          follow: stop.signal,
          onDamage,
        })) {
          seen.push(`${path} ${status}`);
        }
      })();
      const history = ['/0xxxxxxxx null', '/1xxxxxxxx null', '/2xxxxxxxx null', '/3xxxxxxxx null'];
      const before = last === 'all' ? history : last === 0 ? [] : history.slice(-last);
      await until(before.length);
      await setTimeout(50);
      t.same(seen, before);
      await writeBatch(first, requestRecord(5), outcome(5));
      await until(before.length + 1);
      const torn = folder.read(first.fileName);
      const later = folder.open('worker-1-2');
      await writeBatch(later, requestRecord(6), outcome(6, { status: 404 }));
      await until(before.length + 2);
      folder.write(first.fileName, `${torn}{"type":"requ`);
      await setTimeout(250);
      stop.abort();
      await following;
      t.same(seen, [...before, '/items/5 200', '/items/6 404']);
    },
  );
}

t.test('whatever the batches, the last n are the end of all', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(60_000), { minLength: 1, maxLength: 5 }), { maxLength: 12 }),
      fc.nat(40),
      async (batches, last) => {
        const folder = new JournalFolder();
        try {
          const worker = folder.open('worker-1-1', new Date(at(0)));
          let id = 0;
          for (const sizes of batches) {
            await writeBatch(
              worker,
              ...sizes.map((size) =>
                requestRecord(++id, { time: at(id), path: `/${id}/`.padEnd(size, 'x') }),
              ),
            );
          }
          const all = paths(await collect(folder));
          if (all.length !== id) return false;
          const end = paths(await collect(folder, { last }));
          return end.join() === (last === 0 ? [] : all.slice(-last)).join();
        } finally {
          folder.remove();
        }
      },
    ),
    { numRuns: 30 },
  );
});
