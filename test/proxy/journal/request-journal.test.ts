import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { JournalWriter } from '../../../src/audit/journal.ts';
import { OutcomeRecord, RequestRecord, ScrubRecord } from '../../../src/audit/record.ts';
import { verifyJournals } from '../../../src/audit/verify.ts';
import { type Intent, RequestJournal } from '../../../src/proxy/journal/request-journal.ts';

const NAME = '20260101T000000000Z-worker-1-1.ndjson';

interface Opened {
  readonly folder: string;
  readonly writer: JournalWriter;
  readonly journal: RequestJournal;
  /** The records' lines in the file. */
  lines(): string[];
}

function open(t: Tap): Opened {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-journal-'));
  const fd = openSync(join(folder, NAME), 'ax');
  t.teardown(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  const writer = new JournalWriter(fd, NAME);
  const lines = (): string[] =>
    readFileSync(join(folder, NAME), 'latin1')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('{"link":'));
  return { folder, writer, journal: new RequestJournal(writer), lines };
}
type Tap = Pick<typeof t, 'teardown'>;

const intent: Intent = {
  agent: 'agent-1',
  method: 'GET',
  host: 'api.example.com',
  port: 443,
  path: '/items',
  service: 'example',
  credential: 'credential-1',
  version: 1,
  decision: 'injected',
  reason: 'grant-1',
};

t.test('an intent is in the file, with a time of now, when its callback runs; ids count up', async (t) => {
  const { writer, journal, lines } = open(t);
  const before = new Date().toISOString();
  const written: number[] = [];
  const ids = [1, 2].map(() => journal.intent(intent, (error) => written.push(error ? -1 : lines().length)));
  t.same(written, [], 'not within the call');
  await writer.flushed();
  t.same(ids, [1, 2]);
  t.same(written, [2, 2]);
  const record = RequestRecord.parse(JSON.parse(lines()[1] ?? ''));
  t.match(record, { ...intent, type: 'request', id: 2 });
  t.ok(before <= record.time && record.time <= new Date().toISOString());
});

t.test('a request whose record cannot be written is told so', async (t) => {
  const { folder } = open(t);
  const fd = openSync(join(folder, NAME), 'r'); // cannot be written
  t.teardown(() => closeSync(fd));
  const journal = new RequestJournal(new JournalWriter(fd, NAME));
  const codes = await Promise.all(
    [1, 2].map(() => new Promise((resolve) => journal.intent(intent, (error) => resolve(error?.code)))),
  );
  t.same(codes, ['journal_unavailable', 'journal_unavailable']);
});

t.test('outcome and scrub records refer to their request', async (t) => {
  const { folder, writer, journal, lines } = open(t);
  const id = journal.intent(
    { ...intent, agent: null, service: null, credential: null, version: null },
    () => {},
  );
  journal.scrubbed(id, 'trailer', 3);
  const outcome = {
    status: null,
    error: 'upstream_timeout',
    overheadMs: 1.23456789,
    totalMs: 30_000,
    bytesUp: 2 ** 40,
    bytesDown: 0,
  };
  journal.outcome(id, outcome);
  await writer.flushed();
  const [request, scrub, end] = lines().map((line) => JSON.parse(line));
  t.match(RequestRecord.parse(request), { id, agent: null, service: null, credential: null, version: null });
  t.match(ScrubRecord.parse(scrub), { id, where: 'trailer', hits: 3 });
  t.match(OutcomeRecord.parse(end), { ...outcome, id, overheadMs: 1.235 });
  t.match(await verifyJournals(folder), { records: 3, problems: [] });
});

t.test(
  'any path as bytes comes back byte for byte, its query never; any text is one line of ASCII',
  async (t) => {
    const { folder, writer, journal, lines } = open(t);
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\n{"link":1,"hash":"x"}\n', '"},{', '\\', '\u2028', '\ud800', '\x7f\x1b[2J', '\u0000'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array(),
        hostile,
        hostile,
        fc.boolean(),
        async (bytes, host, reason, asText) => {
          const path = Buffer.from(bytes);
          const request = { ...intent, agent: host, method: reason, host, reason };
          journal.intent({ ...request, path: asText ? path.toString('latin1') : path }, () => {});
          await writer.flushed();
          const line = lines().at(-1) ?? '';
          const record = RequestRecord.parse(JSON.parse(line));
          const query = path.indexOf('?');
          const expected = query < 0 ? path : path.subarray(0, query);
          return (
            /^[\x20-\x7e]+$/.test(line) &&
            Buffer.from(record.path, 'latin1').equals(expected) &&
            record.host === host &&
            record.agent === host &&
            record.method === reason &&
            record.reason === reason
          );
        },
      ),
      { numRuns: 300 },
    );
    t.match(await verifyJournals(folder), { records: 300, problems: [] });
  },
);
