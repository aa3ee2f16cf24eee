import { Buffer } from 'node:buffer';
import t from 'tap';
import { createBodyReader } from '../../../src/proxy/http/body.ts';
import type { Framing } from '../../../src/proxy/http/message.ts';
import { LIMITS } from './reading.ts';

const CHUNKED: Framing = { kind: 'chunked' };

t.test('a body of known length ends at its last byte, whatever follows', (t) => {
  const reader = createBodyReader({ kind: 'length', length: 5 }, 'request', LIMITS);
  t.equal(reader.done, false);
  t.equal(reader.read(Buffer.from('xxhel'), 2), 5);
  t.same(reader.ranges, [2, 5]);
  t.throws(() => reader.end(), { code: 'bad_request' }, 'an agent that stops early');
  t.equal(reader.read(Buffer.from('loGET'), 0), 2);
  t.same(reader.ranges, [0, 2]);
  t.match(reader, { done: true, contentBytes: 5 });
  reader.end();
  t.equal(reader.read(Buffer.from('GET'), 0), 0, 'no more of it');
  t.same(reader.ranges, []);
  t.end();
});

t.test('no body, and one of length 0, are done before a byte', (t) => {
  for (const framing of [{ kind: 'none' }, { kind: 'length', length: 0 }] satisfies Framing[]) {
    const reader = createBodyReader(framing, 'response', LIMITS);
    t.equal(reader.done, true);
    t.equal(reader.read(Buffer.from('x'), 0), 0);
    reader.end();
  }
  t.end();
});

t.test('a body up to the close is done when the connection is', (t) => {
  const reader = createBodyReader({ kind: 'close' }, 'response', LIMITS);
  t.equal(reader.read(Buffer.from('abc'), 1), 3);
  t.same(reader.ranges, [1, 3]);
  t.equal(reader.done, false);
  reader.end();
  t.match(reader, { done: true, contentBytes: 2 });
  t.end();
});

t.test('a chunked body: content, trailers and framing are told apart', (t) => {
  const text = '5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\nC: d\r\n\r\nGET';
  const chunk = Buffer.from(text);
  const reader = createBodyReader(CHUNKED, 'request', LIMITS);
  t.equal(reader.read(chunk, 0), text.length - 3);
  const parts = (ranges: readonly number[]) =>
    ranges.flatMap((start, i) => (i % 2 === 0 ? [chunk.toString('latin1', start, ranges[i + 1])] : []));
  t.same(parts(reader.ranges), ['hello', '!']);
  t.same(parts(reader.trailerRanges), ['A: b\r\nC: d\r\n']);
  t.match(reader, { done: true, contentBytes: 6 });
  reader.read(chunk, 0);
  t.same([reader.ranges, reader.trailerRanges], [[], []], 'each read has its own ranges');
  t.end();
});

t.test('an unfinished body says so at the end of its connection', (t) => {
  for (const text of ['', '5', '5\r\nhel', '5\r\nhello\r\n', '0\r\n', '0\r\nA: b\r\n', '0\r\n\r']) {
    const reader = createBodyReader(CHUNKED, 'response', LIMITS);
    reader.read(Buffer.from(text), 0);
    t.throws(() => reader.end(), { code: 'upstream_closed' }, JSON.stringify(text));
  }
  t.throws(() => createBodyReader({ kind: 'length', length: 1 }, 'response', LIMITS).end(), {
    code: 'upstream_closed',
  });
  t.end();
});

t.test('a chunked body that was refused stays refused', (t) => {
  const reader = createBodyReader(CHUNKED, 'request', LIMITS);
  t.throws(() => reader.read(Buffer.from('5;a=\r\nhello\r\n'), 0), { code: 'bad_request' });
  t.throws(() => reader.read(Buffer.from('0\r\n\r\n'), 0), { code: 'bad_request' });
  t.throws(() => reader.end(), { code: 'bad_request' });
  t.equal(reader.done, false);
  t.end();
});

t.test('trailers that the caller refuses are refused in any case and with "_" for "-"', (t) => {
  for (const name of ['X-Api-Key', 'x_api_key', 'X-API_KEY']) {
    const reader = createBodyReader(CHUNKED, 'request', LIMITS, ['x_Api-Key']);
    t.throws(() => reader.read(Buffer.from(`0\r\n${name}: v\r\n\r\n`), 0), { code: 'bad_request' }, name);
  }
  const reader = createBodyReader(CHUNKED, 'request', LIMITS, ['x-api-key']);
  reader.read(Buffer.from('0\r\nX-Api-Keys: v\r\n\r\n'), 0);
  t.equal(reader.done, true, 'a longer name is another');
  t.end();
});

t.test('extensions and trailers are bounded, however they arrive', (t) => {
  const limits = { headBytes: 1000, headFields: 5, targetBytes: 1 };
  const feed = (pieces: Iterable<string>) => {
    const reader = createBodyReader(CHUNKED, 'response', limits);
    for (const piece of pieces) reader.read(Buffer.from(piece), 0);
    return reader;
  };
  const repeat = function* (start: string, piece: string, count: number, end = '') {
    yield start;
    for (let i = 0; i < count; i++) yield piece;
    yield end;
  };
  t.equal(
    feed(repeat('1;', 'a', 4095, '\r\nx\r\n0\r\n\r\n')).done,
    true,
    '4,096 bytes of extension with its CR',
  );
  t.throws(() => feed(repeat('1;', 'a', 4097)), { code: 'upstream_invalid' }, 'more in one line');
  t.throws(
    () => feed(repeat('', `1;${'a'.repeat(1000)}\r\nx\r\n`, 70)),
    { code: 'upstream_invalid' },
    'more in all lines',
  );
  t.equal(
    feed(repeat('', `400;${'a'.repeat(1000)}\r\n${'x'.repeat(1024)}\r\n`, 70, '0\r\n\r\n')).done,
    true,
    'less than the content',
  );
  t.equal(feed(repeat('0\r\nA: ', 'b', 993, '\r\n\r\n')).done, true, '1,000 bytes of trailers');
  t.throws(() => feed(repeat('0\r\nA: ', 'b', 994, '\r\n\r\n')), { code: 'upstream_invalid' }, '1,001 bytes');
  t.equal(feed(repeat('0\r\n', 'A: b\r\n', 5, '\r\n')).done, true, '5 fields');
  t.throws(() => feed(repeat('0\r\n', 'A: b\r\n', 6, '\r\n')), { code: 'upstream_invalid' }, '6 fields');
  t.end();
});

t.test('the largest sizes are counted exactly, the next are refused', (t) => {
  const reader = createBodyReader(CHUNKED, 'request', LIMITS);
  t.equal(reader.read(Buffer.from('1fffffffffffff\r\nx'), 0), 17);
  t.match(reader, { contentBytes: 1, done: false });
  for (const size of ['20000000000000', 'fffffffffffffff', '0000000000000001']) {
    const other = createBodyReader(CHUNKED, 'request', LIMITS);
    t.throws(() => other.read(Buffer.from(`${size}\r\n`), 0), { code: 'bad_request' }, size);
  }
  t.end();
});
