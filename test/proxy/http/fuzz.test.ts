import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { disagreement } from './agreement.ts';
import { type Mutant, mutant } from './mutation.ts';
import { type Reading, readWire } from './reading.ts';

Error.stackTraceLimit = 0; // most mutants are refused, and a stack each would take half of the time

const RUNS = 100_000;
const CODES = new Set(
  (
    'end partial closed tunnel bad_request head_too_large uri_too_long coding_not_supported version_not_supported ' +
    'method_not_supported expectation_failed misdirected_request upstream_invalid'
  ).split(' '),
);

function read({ side, asked, wire }: Mutant, cuts: readonly number[]): Reading {
  const bytes = Buffer.from(wire, 'latin1');
  return readWire(
    side,
    [0, ...cuts].map((from, i) => Buffer.from(bytes.subarray(from, cuts[i] ?? bytes.length))),
    asked || undefined,
  );
}

t.test(
  `${RUNS} changed messages: no crash, no disagreement with llhttp, the same however they are cut`,
  (t) => {
    let accepted = 0;
    let refused = 0;
    fc.assert(
      fc.property(mutant, (one) => {
        const reading = read(one, []);
        if (!CODES.has(reading.ending)) throw new Error(`ended with ${reading.ending}`);
        const complete = reading.messages.filter((message) => message.done);
        accepted += complete.length;
        if (reading.ending.includes('_')) refused++;
        const differs = disagreement(
          one.side,
          Buffer.from(one.wire, 'latin1'),
          reading,
          one.asked || undefined,
        );
        if (differs) throw new Error(differs);
        const cut = read(one, one.cuts);
        const same =
          cut.ending === reading.ending &&
          JSON.stringify(cut.messages.filter((message) => message.done)) === JSON.stringify(complete);
        if (!same) throw new Error(`cut: ${cut.ending}, whole: ${reading.ending}`);
      }),
      { numRuns: RUNS },
    );
    // The mutants must reach both sides of the fence, or the agreement above says nothing.
    t.ok(accepted > RUNS / 10, `${accepted} messages were accepted`);
    t.ok(refused > RUNS / 10, `${refused} were refused`);
    t.end();
  },
);
