import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { BatchReader } from '../../src/audit/batches.ts';
import { chainStart, type Head, linkLine } from '../../src/audit/chain.ts';
import { lastHead } from '../../src/audit/last-head.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-batches-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'journal');

interface Read {
  readonly lines: string;
  readonly firstLine: number;
  readonly linkLine: number;
  readonly link: number;
}

function readAll(reader: BatchReader): Read[] {
  const batches: Read[] = [];
  for (let batch = reader.next(); batch; batch = reader.next()) {
    const { lines, firstLine, linkLine, head } = batch;
    batches.push({ lines: lines.toString('latin1'), firstLine, linkLine, link: head.link });
  }
  return batches;
}

/** Lines of any bytes but a newline, some of them almost links. */
const line = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .uint8Array({ maxLength: 60 })
      .map((bytes) => Buffer.from(bytes).toString('latin1').replaceAll('\n', '')),
  },
  fc.constantFrom(
    '{"link":1,"hash":"',
    '{"link":1,"hash":"00"}',
    ` ${linkLine({ link: 1, hash: 'a'.repeat(64) }).trimEnd()}`,
  ),
);
const hash = '0123456789abcdef'.repeat(4);

t.test('any bytes are read as the batches that they are, whole or growing, and the rest is told', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.array(line, { maxLength: 6 }), { maxLength: 8 }),
      fc.array(line, { maxLength: 3 }),
      fc.boolean(),
      fc.array(fc.nat(2000), { maxLength: 5 }),
      (batches, rest, half, cuts) => {
        const expected: Read[] = [];
        let text = '';
        let at = 1;
        for (const [index, lines] of batches.entries()) {
          const bytes = lines.map((one) => `${one}\n`).join('');
          expected.push({ lines: bytes, firstLine: at, linkLine: at + lines.length, link: index });
          at += lines.length + 1;
          text += bytes + linkLine({ link: index, hash });
        }
        text +=
          rest.map((one) => `${one}\n`).join('') + (half ? linkLine({ link: 99, hash }).slice(0, -1) : '');
        const restBytes =
          text.length -
          expected.reduce((sum, { lines, link }) => sum + lines.length + linkLine({ link, hash }).length, 0);

        writeFileSync(path, text, 'latin1');
        const reader = new BatchReader(path);
        const whole = readAll(reader);
        const told = reader.rest;

        writeFileSync(path, '');
        const growing = new BatchReader(path);
        const grown: Read[] = [];
        let from = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), text.length]) {
          appendFileSync(path, text.slice(from, cut), 'latin1');
          from = Math.max(from, cut);
          grown.push(...readAll(growing));
        }
        return (
          JSON.stringify(whole) === JSON.stringify(expected) &&
          JSON.stringify(grown) === JSON.stringify(expected) &&
          told.bytes === restBytes &&
          told.line === at
        );
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});

t.test('from an offset, reading begins with the first whole batch after it, wherever it falls', (t) => {
  const text = Array.from({ length: 5 }, (_, link) => `{"a":${link}}\n${linkLine({ link, hash })}`).join('');
  writeFileSync(path, text, 'latin1');
  const ends = readAll(new BatchReader(path)).map(
    ({ lines, link }) => lines.length + linkLine({ link, hash }).length,
  );
  for (let offset = 1; offset < text.length; offset++) {
    let whole = 0; // batches of which a byte of the link line, its first at least, lies after the offset
    let end = 0;
    for (const length of ends) {
      end += length;
      const link = end - linkLine({ link: 0, hash }).length;
      if (link >= offset) whole++;
    }
    const links = readAll(new BatchReader(path, offset)).map(({ link }) => link);
    t.same(links, [0, 1, 2, 3, 4].slice(5 - whole + 1), `from ${offset}`);
  }
  t.end();
});

t.test('a batch, or a line, that no writer writes is passed over in bounded memory', (t) => {
  const link = linkLine({ link: 1, hash });
  const good = `{"good":1}\n${link}`;
  for (const huge of [
    `${'x'.repeat(6_000_000)}\n`,
    `${'x'.repeat(99)}\n`.repeat(60_000),
    `{"link":${'1'.repeat(3_000_000)}\n`,
  ]) {
    writeFileSync(path, huge + link + good, 'latin1');
    const reader = new BatchReader(path);
    const first = reader.next();
    t.match(first, { oversize: true, firstLine: 1, head: { link: 1 } });
    t.ok((first?.lines.buffer.byteLength ?? 0) < 1_200_000);
    const second = reader.next();
    t.match(second, { oversize: false, lines: Buffer.from('{"good":1}\n') });
    t.equal(second?.firstLine, (first?.linkLine ?? 0) + 1);
    t.equal(reader.next(), undefined);
  }
  t.end();
});

t.test('the last head of a file is that of its last whole batch', (t) => {
  t.same(lastHeadOf(''), chainStart('journal'));
  t.same(lastHeadOf('{"torn":1}\n'), chainStart('journal'));
  for (const size of [10, 20_000, 300_000]) {
    const batches = [1, 2, 3].map((link) => `${'x'.repeat(size)}\n${linkLine({ link, hash })}`).join('');
    t.same(lastHeadOf(batches), { link: 3, hash });
    t.same(lastHeadOf(`${batches}{"torn":1}\n{"link":4,"ha`), { link: 3, hash });
  }
  t.end();
});

function lastHeadOf(text: string): Head {
  writeFileSync(path, text, 'latin1');
  return lastHead(folder, 'journal');
}
