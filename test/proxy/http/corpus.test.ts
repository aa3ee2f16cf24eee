import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { disagreement } from './agreement.ts';
import type { Case } from './corpus/case.ts';
import { allCases, CORPUS, corpusText } from './corpus/generate.ts';
import { type Reading, readWire } from './reading.ts';

Error.stackTraceLimit = 0; // half of the time otherwise, over a million refusals

const text = readFileSync(CORPUS, 'utf8');
const cases = text.trimEnd().split('\n').map(parseCase);

function parseCase(line: string): Case {
  const [family, asked, expect, wire]: string[] = JSON.parse(line);
  if (family === undefined || asked === undefined || expect === undefined || wire === undefined) {
    throw new Error(`not a case: ${line}`);
  }
  return { family, side: asked === '' ? 'request' : 'response', asked, expect, wire };
}

function read(one: Case, cuts: readonly number[]): Reading {
  const bytes = Buffer.from(one.wire, 'latin1');
  const chunks = [0, ...cuts].map((from, i) => Buffer.from(bytes.subarray(from, cuts[i] ?? bytes.length)));
  return readWire(one.side, chunks, one.asked || undefined);
}

/**
 * All that a reading says, but for what had arrived of a body before the fault in it: that depends on the cuts.
 */
function said({ messages, ending }: Reading): string {
  const settled = messages.map((m) =>
    m.done || ending === 'partial' ? m : { ...m, body: '', trailers: '' },
  );
  return JSON.stringify({ settled, ending });
}

const outcome = ({ messages, ending }: Reading) => `${messages.filter((m) => m.done).length} ${ending}`;

/** Every case that `problem` finds fault with, with the fault: an empty list is what a test wants. */
function faults(problem: (one: Case) => string | undefined): object[] {
  return cases.flatMap((one) => {
    const found = problem(one);
    return found === undefined ? [] : [{ ...one, found }];
  });
}

t.test('the corpus is what its generator makes, at least 2,000 cases', (t) => {
  t.ok(cases.length >= 2000, `${cases.length} cases`);
  t.equal(text, corpusText(allCases()), 'run: node test/proxy/http/corpus/generate.ts');
  t.end();
});

t.test('every case is accepted or refused as its family says', (t) => {
  t.same(
    faults((one) => {
      const found = outcome(read(one, []));
      return found === one.expect ? undefined : found;
    }),
    [],
  );
  t.end();
});

t.test('what is accepted llhttp in strict mode reads the same way', (t) => {
  t.same(
    faults((one) => {
      const reading = read(one, []);
      return disagreement(one.side, Buffer.from(one.wire, 'latin1'), reading, one.asked || undefined);
    }),
    [],
  );
  t.end();
});

t.test('cut in two at any byte, or fed byte by byte, each case reads the same', (t) => {
  t.same(
    faults((one) => {
      const whole = said(read(one, []));
      const length = Math.min(one.wire.length, 1000);
      for (let cut = 1; cut < length; cut++) {
        if (said(read(one, [cut])) !== whole) return `differs when cut at ${cut}`;
      }
      const every = Array.from({ length: length - 1 }, (_, i) => i + 1);
      return said(read(one, every)) === whole ? undefined : 'differs byte by byte';
    }),
    [],
  );
  t.end();
});
