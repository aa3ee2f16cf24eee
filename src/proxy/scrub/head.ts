import type { Run } from './occurrences.ts';

const ASTERISK = 0x2a;
const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
/** "HTTP/1.1 200 ": what a status line says to a parser. Its reason phrase is text. */
const STATUS_LENGTH = 13;
const PROTOCOL = Buffer.from('HTTP/', 'latin1');

/**
 * Overwrites the runs in a head or in trailer lines, and leaves what gives them their shape: version and status, each
 * line's CRLF and the colon after its name. A field's name is overwritten like its value: it is text that an agent
 * reads, and "*" may stand in a name.
 */
export function overwriteInHead(bytes: Buffer, runs: readonly Run[]): void {
  const first = bytes.subarray(0, PROTOCOL.length).equals(PROTOCOL) ? STATUS_LENGTH : 0;
  for (const [start, end] of runs) {
    for (let at = Math.max(start, first); at < end; at++) {
      const byte = bytes[at];
      if (byte === CR || byte === LF || (byte === COLON && endsName(bytes, at, first))) continue;
      bytes[at] = ASTERISK;
    }
  }
}

/** Whether the colon at `at` is the first of its line, and the line is not the status line. */
function endsName(bytes: Buffer, at: number, first: number): boolean {
  const line = bytes.lastIndexOf(LF, at) + 1;
  return (line > 0 || first === 0) && bytes.indexOf(COLON, line) === at;
}
