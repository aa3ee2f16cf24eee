import { type Case, HIDDEN, post, request, response, times } from './case.ts';

type Coding = [value: string, kind: 'ok' | 'coding' | 'syntax'];
const CODINGS: readonly Coding[] = [
  ...'chunked|Chunked|CHUNKED|cHuNkEd|\tchunked| \t chunked| chunked  '
    .split('|')
    .map((value): Coding => [value, 'ok']),
  ...(
    'xchunked|chunkedx|chunked\t|chunked \t|chunked\t |chunk|chunked, chunked|chunked,chunked|chunked,|,chunked|chunked;q=1|chunked;a=b|identity|' +
    'gzip, chunked|chunked, gzip|chunked, identity|identity, chunked|identity,chunked|cow|"chunked"|\'chunked\'|deflate|' +
    'trailers|chun ked|chunked chunked|c hunked|\xa0chunked|chunked\xa0|\xffchunked|chunked\x85||x|gzip|compress|br|' +
    'chunked=1|chunked/1|(chunked)|chunked(x)|[chunked]|ｃhunked|chunke\xcc\x81d|true|1|none|null|chunked-|-chunked|nochunked'
  )
    .replace('ｃ', '\xef\xbd\x83')
    .split('|')
    .map((value): Coding => [value, 'coding']),
  ...'\x0bchunked|chunked\x0b|\x0cchunked|chunked\x0c|chunked\x00|\x00chunked|ch\x00unked|\x7fchunked|chunked\x1f|\x08chunked'
    .split('|')
    .map((value): Coding => [value, 'syntax']),
];

/** Transfer-Encoding: its values, spellings of its name, repeated. */
export function codings(): Case[] {
  return [...transferEncoding(), ...repeatedCoding()];
}

function transferEncoding(): Case[] {
  const requestCode = { ok: '2 end', coding: '0 coding_not_supported', syntax: '0 bad_request' };
  const name = times(['Transfer-Encoding', 'transfer-encoding', 'TRANSFER-ENCODING'], CODINGS).flatMap(
    ([field, [value, kind]]) => [
      request('coding', requestCode[kind], post(`${field}:${value}\r\n`, `5\r\nhello\r\n0\r\n\r\n${HIDDEN}`)),
      request(
        'coding-with-length',
        kind === 'ok' ? '0 bad_request' : requestCode[kind],
        post(`Content-Length: 5\r\n${field}: ${value}\r\n`, `0\r\n\r\n${HIDDEN}`),
      ),
      response(
        'coding',
        kind === 'ok' ? '1 end' : '0 upstream_invalid',
        `HTTP/1.1 200 OK\r\n${field}:${value}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
      ),
    ],
  );
  const spellings = [
    'Transfer_Encoding',
    'transfer_encoding',
    'Transfer-Encoding ',
    ' Transfer-Encoding',
    '\tTransfer-Encoding',
    'Transfer-Encoding\t',
    'Transfer Encoding',
    'Transfer-Encoding\x00',
    'X: y\nTransfer-Encoding',
    'X: y\rTransfer-Encoding',
    'Transfer-Encoding\x0b',
    'Transfer-\r\n Encoding',
    'Transfer-Encoding\r\n ',
    '\x00Transfer-Encoding',
    ':Transfer-Encoding',
    '\xefTransfer-Encoding',
    '"Transfer-Encoding"',
    'Transfer-Encoding\xa0',
    '\rTransfer-Encoding',
    '\nTransfer-Encoding',
  ];
  const odd = times(spellings, ['', 'Content-Length: 5\r\n']).map(([field, length]) =>
    request('coding-name', '0 bad_request', post(`${length}${field}: chunked\r\n`, `0\r\n\r\n${HIDDEN}`)),
  );
  const old = ['chunked', 'Chunked'].flatMap((value) => [
    request(
      'coding-1.0',
      '0 bad_request',
      `POST / HTTP/1.0\r\nTransfer-Encoding: ${value}\r\n\r\n0\r\n\r\n${HIDDEN}`,
    ),
    response(
      'coding-1.0',
      '0 upstream_invalid',
      `HTTP/1.0 200 OK\r\nTransfer-Encoding: ${value}\r\n\r\n0\r\n\r\n`,
    ),
  ]);
  return [...name, ...odd, ...old];
}

function repeatedCoding(): Case[] {
  const values = ['chunked', 'Chunked', 'identity', 'x', 'gzip', 'chunked, chunked', ''];
  const isChunked = (value: string) => value.toLowerCase() === 'chunked';
  return times(values, values).flatMap(([a, b]) => {
    const lines = `Transfer-Encoding: ${a}\r\nX: y\r\nTransfer-encoding: ${b}\r\n`;
    return [
      request(
        'TE.TE',
        isChunked(a) ? '0 bad_request' : '0 coding_not_supported',
        post(lines, `0\r\n\r\n${HIDDEN}`),
      ),
      response('TE.TE', '0 upstream_invalid', `HTTP/1.1 200 OK\r\n${lines}\r\n0\r\n\r\n`),
    ];
  });
}
