import fc from 'fast-check';
import type { Side } from './reading.ts';

/** What the fuzz test starts from: valid messages of every framing. */
const SEEDS: Record<Side, readonly string[]> = {
  request: [
    'GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n',
    'POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhello',
    'PUT /p HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n10;c\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n',
    'GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\n\r\n',
    'OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nHost: [::1]\r\n\r\n',
    'CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n',
    'HEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\nUpgrade: x\r\n\r\n',
  ],
  response: [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nT: u\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX: y\r\n\r\n',
    'HTTP/1.0 404 Not Found\r\nServer: s\r\n\r\nuntil the close',
    'HTTP/1.1 304\r\nContent-Length: 9\r\nConnection: keep-alive\r\n\r\n',
    'HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n',
  ],
};

/** Pieces that matter to a parser, to be spliced in anywhere. */
const PIECES = [
  ...'\r|\n|\r\n|\r\n\r\n| |\t|:|;|,|=|"|\\|/|#|?|@|%|\0|\x7f|\x80|\xff|0|1|5|a|f|-|+|_|.|\r\n |\n\r'.split(
    '|',
  ),
  ...(
    '\r\nContent-Length: 5|\r\nContent-Length: 0|\r\nTransfer-Encoding: chunked|\r\nHost: b|\r\nConnection: close|chunked|identity|0\r\n\r\n|' +
    '\r\nConnection: keep-alive|\r\nX: y|5\r\nhello\r\n|GET / HTTP/1.1\r\nHost: a\r\n\r\n|HTTP/1.1 200 OK\r\n|HTTP/1.0|HTTP/1.1|;a=b|100|204|ffffffffffffffff'
  ).split('|'),
];

export interface Mutant {
  readonly side: Side;
  readonly asked: string;
  readonly wire: string;
  /** Where to cut the wire in three. */
  readonly cuts: readonly [number, number];
}

const ASKED = ['GET', 'GET', 'HEAD', 'CONNECT'];

/**
 * Valid messages, one or two in a row, with up to four changes: pieces put in or over what is there, bytes taken out or
 * doubled. Plain numbers underneath: shrinking works, and 100,000 of them take seconds.
 */
export const mutant: fc.Arbitrary<Mutant> = fc
  .tuple(
    fc.nat(1023),
    fc.array(fc.tuple(fc.nat(0xffff), fc.nat(0xffff), fc.nat(4)), { maxLength: 4 }),
    fc.nat(0xffff),
    fc.nat(0xffff),
  )
  .map(([choice, changes, first, second]) => {
    const side = choice % 3 === 0 ? 'response' : 'request';
    const seeds = SEEDS[side];
    let wire = seeds[choice % seeds.length] ?? '';
    if (choice & 512) wire += seeds[(choice >> 4) % seeds.length];
    for (const [place, piece, kind] of changes) wire = change(wire, place, piece, kind);
    const low = first % (wire.length + 1);
    const high = low + (second % (wire.length - low + 1));
    return {
      side,
      asked: side === 'request' ? '' : (ASKED[(choice >> 3) % ASKED.length] ?? 'GET'),
      wire,
      cuts: [low, high],
    };
  });

function change(wire: string, place: number, piece: number, kind: number): string {
  const at = place % (wire.length + 1);
  const text = PIECES[piece % PIECES.length] ?? '';
  const before = wire.slice(0, at);
  switch (kind) {
    case 0:
      return before + text + wire.slice(at);
    case 1:
      return before + text + wire.slice(at + text.length);
    case 2:
      return before + wire.slice(at + 1 + (piece % 3));
    case 3:
      return before + wire.slice(at, at + 1 + (piece % 8)) + wire.slice(at);
    default:
      return before + String.fromCharCode(piece & 255) + wire.slice(at + 1);
  }
}
