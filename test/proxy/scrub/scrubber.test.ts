import fc from 'fast-check';
import t from 'tap';
import type { SallyportError } from '../../../src/errors.ts';
import { createBodyReader } from '../../../src/proxy/http/body.ts';
import { Scrubber } from '../../../src/proxy/scrub/scrubber.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const text = (pieces: readonly Buffer[]) => Buffer.concat(pieces).toString('latin1');
const KEY = 'sk-test-0123456789abcdef';

/** Feeds `parts` as bodies without framing; returns the text forwarded by each call, and the hits. */
function feedAll(secrets: readonly string[], parts: readonly string[]): { out: string[]; hits: number } {
  let hits = 0;
  const scrubber = new Scrubber(secrets.map(bytes), (_where, count) => {
    hits += count;
  });
  const out = parts.map((part, index) => {
    const raw = bytes(part);
    return text(scrubber.feed(raw, [0, raw.length], index === parts.length - 1));
  });
  return { out, hits };
}

t.test('forwards the very buffer where nothing is found', async (t) => {
  const scrubber = new Scrubber([bytes(KEY)], () => t.fail('no hit'));
  const raw = bytes('nothing to see here');
  const pieces = scrubber.feed(raw, [0, raw.length], false);
  t.equal(pieces.length, 1);
  t.equal(pieces[0], raw);
});

t.test('overwrites in place, any number of times, and at the very end', async (t) => {
  const { out, hits } = feedAll([KEY], [`a${KEY}b${KEY}${KEY}`]);
  t.same(out, [`a${'*'.repeat(24)}b${'*'.repeat(48)}`]);
  t.equal(hits, 3);
  t.same(feedAll([KEY], [KEY, '.']).out, ['*'.repeat(24), '.']); // whole, so not held
});

t.test('holds a tail back from 12 matching bytes on, and not before', async (t) => {
  t.same(feedAll([KEY], [`x${KEY.slice(0, 11)}`, '!']).out, [`x${KEY.slice(0, 11)}`, '!']);
  t.same(feedAll([KEY], [`x${KEY.slice(0, 12)}`, '!']).out, ['x', `${KEY.slice(0, 12)}!`]);
});

t.test('overwrites the rest of a secret whose first bytes went out already', async (t) => {
  const { out, hits } = feedAll([KEY], [KEY.slice(0, 5), KEY.slice(5, 12), `${KEY.slice(12)}.`]);
  t.same(out, [KEY.slice(0, 5), '', `${'*'.repeat(19)}.`]);
  t.equal(hits, 1);
});

t.test('never holds a secret of 12 bytes or fewer back, and redacts what is left of it', async (t) => {
  t.same(feedAll(['hunter22'], ['hunter2', '2']).out, ['hunter2', '*']);
});

t.test('does not search for secrets shorter than 6 bytes', async (t) => {
  t.same(feedAll(['admin', ''], ['the admin page']), { out: ['the admin page'], hits: 0 });
});

t.test('finds a secret that begins inside an overwritten one', async (t) => {
  const secret = 'abcabcabcabcabcabc';
  const { out, hits } = feedAll([secret], [secret, 'abc', '.']);
  t.equal(out.join(''), `${'*'.repeat(21)}.`);
  t.equal(hits, 2);
});

t.test('wipes what of the input it does not return', async (t) => {
  const scrubber = new Scrubber([bytes(KEY)], () => {});
  const raw = bytes(`ab${KEY.slice(0, 20)}`);
  t.equal(text(scrubber.feed(raw, [0, raw.length], false)), 'ab');
  t.same(raw, Buffer.concat([bytes('ab'), Buffer.alloc(20)]));
  const next = bytes('c');
  t.equal(text(scrubber.feed(next, [0, 1], true)), `${KEY.slice(0, 20)}c`);
  t.same(next, Buffer.alloc(1));
});

t.test('destroy forgets what is held', async (t) => {
  const scrubber = new Scrubber([bytes(KEY)], () => t.fail('no hit'));
  const raw = bytes(KEY.slice(0, 20));
  t.same(scrubber.feed(raw, [0, raw.length], false), []);
  scrubber.destroy();
  const rest = bytes(KEY.slice(20));
  t.equal(text(scrubber.feed(rest, [0, rest.length], true)), KEY.slice(20));
});

t.test('refuses a body framed so that it would hold back without bound', async (t) => {
  const scrubber = new Scrubber([bytes(KEY)], () => {});
  const feed = () => {
    for (const byte of bytes(KEY.slice(0, 23))) {
      const raw = Buffer.alloc(16_000, 0x65); // a chunk size with an extension of 16 KB
      raw[15_999] = byte;
      scrubber.feed(raw, [15_999, 16_000], false);
    }
  };
  t.throws(feed, { code: 'upstream_invalid' } satisfies Partial<SallyportError>);
});

t.test('with the codec: a chunked body and its trailers, in packets of any size', async (t) => {
  const limits = { headBytes: 65_536, headFields: 100, targetBytes: 8192 };
  const halves = [KEY.slice(0, 9), KEY.slice(9)];
  const body = `9;ext=1\r\n${halves[0]}\r\nf\r\n${halves[1]}\r\n18\r\n${KEY}\r\n0\r\nx-key: ${KEY}\r\nx-sum: 1\r\n\r\n`;
  for (let size = 1; size <= body.length; size++) {
    let hits = 0;
    const scrubber = new Scrubber([bytes(KEY)], (_where, count) => {
      hits += count;
    });
    const reader = createBodyReader({ kind: 'chunked' }, 'response', limits);
    let out = '';
    for (let at = 0; at < body.length; at += size) {
      const raw = bytes(body.slice(at, at + size));
      t.equal(reader.read(raw, 0), raw.length);
      out += text(scrubber.feed(raw, [...reader.ranges, ...reader.trailerRanges], reader.done));
    }
    t.equal(hits, 3);
    t.equal(out.length, body.length);
    t.match(out, /^9;ext=1\r\n.{9}\r\nf\r\n.{15}\r\n18\r\n.{24}\r\n0\r\nx-key: .{24}\r\nx-sum: 1\r\n\r\n$/);
    t.notMatch(out, KEY.slice(0, 12));
    t.match(out, /\*{13}\r\n0\r\nx-key: /);
    if (size === body.length) t.notMatch(out, /sk-|abc/);
  }
});

/** Content cut into raw parts with chunk framing: what a chunked body looks like to the scrubber. */
interface Part {
  readonly raw: Buffer;
  readonly ranges: number[];
}

const letters = (min: number, max: number) =>
  fc.string({ unit: fc.constantFrom('a', 'b'), minLength: min, maxLength: max });

/** Secrets of a tiny alphabet, and content made of pieces of them: matches, near matches and overlaps abound. */
const cases = fc
  .array(fc.oneof(letters(6, 9), letters(12, 20)), { minLength: 1, maxLength: 3 })
  .chain((secrets) =>
    fc.record({
      secrets: fc.constant(secrets),
      content: fc
        .array(
          fc.oneof(
            letters(0, 6),
            fc.tuple(fc.constantFrom(...secrets), fc.nat(20)).map(([secret, n]) => secret.slice(0, n)),
            fc.constantFrom(...secrets),
          ),
          { minLength: 1, maxLength: 6 },
        )
        .map((pieces) => pieces.join('')),
      chunks: fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 20 }),
      packets: fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 30 }),
    }),
  );

/** Frames the content in chunks and cuts the whole into packets. Framing uses capitals: never content. */
function frame(content: string, chunks: readonly number[], packets: readonly number[]): Part[] {
  const isContent: boolean[] = [];
  let raw = '';
  const add = (piece: string, content: boolean) => {
    raw += piece;
    for (let i = 0; i < piece.length; i++) isContent.push(content);
  };
  let at = 0;
  for (const size of [...chunks, content.length]) {
    add(`<${size}>`, false);
    add(content.slice(at, at + size), true);
    at = Math.min(content.length, at + size);
    add('\r\n', false);
  }
  const parts: Part[] = [];
  let from = 0;
  for (const size of [...packets, raw.length]) {
    const to = Math.min(raw.length, from + size);
    const ranges: number[] = [];
    for (let i = from; i < to; i++) {
      if (!isContent[i]) {
        if (i % 3 === 0) ranges.push(i - from, i - from); // empty ranges change nothing
      } else if (ranges.length > 0 && ranges.at(-1) === i - from) ranges[ranges.length - 1] = i - from + 1;
      else ranges.push(i - from, i - from + 1);
    }
    parts.push({ raw: bytes(raw.slice(from, to)), ranges });
    from = to;
  }
  return parts;
}

/** For each content byte, whether it belongs to an occurrence, and how many occurrences there are. */
function model(content: string, secrets: readonly string[]): { covered: boolean[]; count: number } {
  const covered = Array.from({ length: content.length }, () => false);
  let count = 0;
  for (const secret of new Set(secrets)) {
    for (let at = content.indexOf(secret); at >= 0; at = content.indexOf(secret, at + 1)) {
      covered.fill(true, at, at + secret.length);
      count++;
    }
  }
  return { covered, count };
}

t.test(
  'whatever the framing and the cuts: as if the whole content had been searched, less 11 bytes',
  async (t) => {
    let hitsSeen = 0;
    let leaksSeen = 0;
    fc.assert(
      fc.property(cases, ({ secrets, content, chunks, packets }) => {
        const parts = frame(content, chunks, packets);
        const whole = text(parts.map((part) => part.raw));
        const contentOffsets = parts.flatMap(({ ranges, raw }, index) => {
          const base = parts.slice(0, index).reduce((sum, part) => sum + part.raw.length, 0);
          return Array.from(raw.keys())
            .filter((i) =>
              ranges.some((start, at) => at % 2 === 0 && i >= start && i < (ranges[at + 1] ?? 0)),
            )
            .map((i) => base + i);
        });
        let hits = 0;
        const scrubber = new Scrubber(secrets.map(bytes), (_where, count) => {
          hits += count;
        });
        let out = '';
        const sentBefore: number[] = []; // by part: raw bytes forwarded before its call
        for (const [index, { raw, ranges }] of parts.entries()) {
          sentBefore.push(out.length);
          out += text(scrubber.feed(raw, ranges, index === parts.length - 1));
        }
        const { covered, count } = model(content, secrets);
        if (hits !== count) throw new Error(`${hits} hits, not ${count}`);
        if (out.length !== whole.length) throw new Error('length changed');
        const contentAt = new Map(contentOffsets.map((offset, index) => [offset, index]));
        for (let i = 0; i < whole.length; i++) {
          const index = contentAt.get(i);
          const original = whole[i];
          if (index === undefined || !covered[index]) {
            if (out[i] !== original) throw new Error(`byte ${i} changed`);
          } else if (out[i] !== '*') {
            leaksSeen++;
          }
        }
        // An occurrence may show its first 11 bytes, where they went out before the rest came; never more.
        const shown = contentOffsets.map((offset) => out[offset] !== '*');
        for (const secret of secrets) {
          for (let at = content.indexOf(secret); at >= 0; at = content.indexOf(secret, at + 1)) {
            const until = shown.slice(at, at + secret.length).lastIndexOf(true) + 1;
            if (until > 11 || until >= secret.length) throw new Error(`${until} bytes of a secret shown`);
            const last = contentOffsets[at + until - 1] ?? 0;
            const end = contentOffsets[at + secret.length - 1] ?? 0;
            const call = parts.findIndex((_part, index) => {
              const from = parts.slice(0, index).reduce((sum, part) => sum + part.raw.length, 0);
              return end >= from && end < from + (parts[index]?.raw.length ?? 0);
            });
            if (until > 0 && last >= (sentBefore[call] ?? 0))
              throw new Error('a byte shown that was still here');
          }
        }
        hitsSeen += hits;
      }),
      { numRuns: 8000 },
    );
    t.ok(hitsSeen > 1000, 'the cases hit');
    t.ok(leaksSeen > 100, 'the cases cut secrets within their first bytes');
  },
);
