import { Buffer } from 'node:buffer';
import t from 'tap';
import { disagreement } from '../proxy/http/agreement.ts';
import { readWire } from '../proxy/http/reading.ts';
import { REQUESTS } from './http1-requests.ts';
import { RESPONSES } from './http1-responses.ts';
import type { Row } from './row.ts';

/** Start line in short, then the fields in wire order, then body and trailers where there are any. */
function check(side: 'request' | 'response', { rfc, says, asked, wire, reads, ending }: Row): void {
  const bytes = Buffer.from(wire, 'latin1');
  const reading = readWire(side, [Buffer.from(bytes)], asked);
  const read = reading.messages
    .filter((message) => message.done)
    .map(({ method, target, status, minor, fields, body, trailers }) => ({
      start: side === 'request' ? `${method} ${target} 1.${minor}` : `${status} 1.${minor}`,
      fields: fields.flatMap((name, i) => (i % 2 === 0 ? [`${name}=${fields[i + 1]}`] : [])),
      body,
      trailers,
    }));
  const expected = reads.map(({ start, fields = [], body = '', trailers = '' }) => ({
    start,
    fields,
    body,
    trailers,
  }));
  t.same({ read, ending: reading.ending }, { read: expected, ending }, `${rfc}: ${says}`);
  t.equal(disagreement(side, bytes, reading, asked), undefined, `${rfc}: llhttp agrees`);
}

for (const row of REQUESTS) check('request', row);
for (const row of RESPONSES) check('response', row);
