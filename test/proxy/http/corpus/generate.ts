import { writeFileSync } from 'node:fs';
import type { Case } from './case.ts';
import { chunks } from './chunks.ts';
import { codings } from './codings.ts';
import { connections } from './connections.ts';
import { hosts } from './hosts.ts';
import { lengths } from './lengths.ts';
import { lines } from './lines.ts';
import { octets } from './octets.ts';
import { responses } from './responses.ts';
import { startLines } from './start-lines.ts';

/** All cases, the same ones in the same order every time. */
export function allCases(): Case[] {
  const cases = [
    ...lengths(),
    ...codings(),
    ...lines(),
    ...startLines(),
    ...hosts(),
    ...chunks(),
    ...connections(),
    ...responses(),
    ...octets(),
  ];
  const seen = new Set<string>();
  return cases.filter(({ side, asked, wire }) => {
    const key = `${side} ${asked} ${wire}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** The corpus file's text: NDJSON, one array [family, side or method asked, expect, wire] a line. */
export function corpusText(cases: readonly Case[]): string {
  return cases
    .map(
      ({ family, side, asked, expect, wire }) =>
        `${JSON.stringify([family, side === 'request' ? '' : asked, expect, wire])}\n`,
    )
    .join('');
}

export const CORPUS = new URL('./cases.ndjson', import.meta.url);

// `node test/proxy/http/corpus/generate.ts` writes the file anew.
if (import.meta.main) writeFileSync(CORPUS, corpusText(allCases()));
