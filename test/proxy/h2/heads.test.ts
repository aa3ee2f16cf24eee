import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../../src/errors.ts';
import { translateHead } from '../../../src/proxy/h2/request-head.ts';
import { responseHead } from '../../../src/proxy/h2/response-head.ts';
import { RequestReader } from '../../../src/proxy/http/request.ts';
import { ResponseReader } from '../../../src/proxy/http/response.ts';

Error.stackTraceLimit = 0; // most are refused

const RUNS = 20_000;
const LIMITS = { headBytes: 64 * 1024, headFields: 200, targetBytes: 16 * 1024 };

/** Text that is what it should be, or has what could end a line, a name or a head in it. */
const nasty = fc
  .array(
    fc.constantFrom(
      'a',
      'B',
      '0',
      '-',
      ' ',
      '\t',
      ':',
      ';',
      ',',
      '\r',
      '\n',
      '\r\n\r\n',
      '\0',
      '\xe4',
      '\x7f',
    ),
    {
      maxLength: 6,
    },
  )
  .map((parts) => parts.join(''));
const names = fc.constantFrom(
  ...['x', 'x-long', 'host', 'cookie', 'te', 'content-length', 'transfer-encoding', 'connection'],
  ...['upgrade', 'keep-alive', 'expect', 'set-cookie', 'trailer', 'Host', 'content-length '],
);
const values = fc.constantFrom(
  '',
  '0',
  '5',
  'a.test',
  'trailers',
  'gzip',
  'chunked',
  'close',
  '100-continue',
  'b=1',
);
const field = fc.tuple(
  fc.oneof({ weight: 4, arbitrary: names }, nasty),
  fc.oneof({ weight: 4, arbitrary: values }, nasty),
);
const orNasty = (...usual: string[]) => fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...usual) }, nasty);
const pseudo = fc
  .record({
    ':method': orNasty('GET', 'POST', 'OPTIONS', 'CONNECT'),
    ':scheme': orNasty('https'),
    ':authority': orNasty('a.test', 'a.test:443'),
    ':path': orNasty('/', '/a?b', '*', 'https://a.test/'),
  })
  .map((fields) => Object.entries(fields));
const lines = fc.array(field, { maxLength: 5 });

/** Whether it was understood; throws where it broke out, or failed otherwise than by a refusal. */
function holds(run: () => void): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (error instanceof SallyportError && error.code !== 'internal') return false;
    throw error;
  }
}

function same(what: string, found: unknown, expected: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${what}: ${JSON.stringify(found)} for ${JSON.stringify(expected)}`);
  }
}

t.test('a request’s fields become one head that says the same, or are refused', (t) => {
  let understood = 0;
  fc.assert(
    fc.property(pseudo, lines, fc.boolean(), (first, rest, ended) => {
      const accepted = holds(() => {
        const { bytes } = translateHead([...first, ...rest].flat(), ended);
        const reader = new RequestReader(LIMITS);
        const end = reader.read(Buffer.concat([bytes, Buffer.from('GET /next HTTP/1.1\r\n')]), 0);
        same('the head ends where it was ended', end, bytes.length);
        const { head } = reader;
        const given = Object.fromEntries(first);
        same('method', head.method, given[':method']);
        if (head.method === 'CONNECT') return;
        same('path', head.bytes.toString('latin1', head.targetStart, head.targetEnd), given[':path']);
        const cookies = rest.filter(([name]) => name === 'cookie').length;
        const hosts = rest.filter(([name]) => name === 'host').length;
        const framing = head.framing.kind === 'chunked' ? 1 : 0;
        const expected = rest.length - hosts - Math.max(0, cookies - 1) + 1 + framing;
        same('as many fields, and a Host', head.fields.count, expected);
      });
      if (accepted) understood++;
    }),
    { numRuns: RUNS },
  );
  t.ok(understood > RUNS / 20, `${understood} were understood`);
  t.end();
});

t.test('an answer’s fields become one head that says the same, or are refused', (t) => {
  let understood = 0;
  fc.assert(
    fc.property(orNasty('200', '204', '304', '103', '404'), lines, fc.boolean(), (status, rest, ended) => {
      const accepted = holds(() => {
        const { bytes, chunked } = responseHead([':status', status, ...rest.flat()], 'GET', ended);
        const reader = new ResponseReader(LIMITS);
        reader.expect('GET');
        const end = reader.read(Buffer.concat([bytes, Buffer.from('HTTP/1.1 200 OK\r\n')]), 0);
        same('the head ends where it was ended', end, bytes.length);
        same('status', String(reader.head.status), status);
        same('framing', reader.head.framing.kind === 'chunked', chunked);
      });
      if (accepted) understood++;
    }),
    { numRuns: RUNS },
  );
  t.ok(understood > RUNS / 20, `${understood} were understood`);
  t.end();
});
