import { type Case, get, HIDDEN, post, request, response, times } from './case.ts';

const NAMES = ['Content-Length', 'content-length', 'CONTENT-LENGTH', 'CoNtEnT-lEnGtH'];
const BAD_VALUES = (
  '+5|-5|-0|+0|5 5|5,5|5, 5|5,6|,5|5,|0x5|0X5|5h|5;|5.0|5e0|1e1|5a|a5|"5"|\'5\'|00|05|0000000000000005|5_0|1_0|٥|5%20|' +
  '9007199254740992|9007199254740993|18446744073709551616|18446744073709551621|4294967301000000|99999999999999999999|' +
  '5\t5|5\x005|\x005|5\x00|5\x0b|\x0b5|\x0c5|5\x7f|5\xa0|\xa05|5 chunked|chunked|NaN|Infinity|null|-|+|0b101|5 ;|5/1|5*|(5)|'
)
  .replace('٥', '\xd9\xa5')
  .split('|');

/** Content-Length: its values, repeated, beside Transfer-Encoding, and what it leaves for the next message. */
export function lengths(): Case[] {
  return [...contentLength(), ...repeatedLength(), ...bothFramings(), ...noBody()];
}

function contentLength(): Case[] {
  const bad = times(BAD_VALUES, NAMES).flatMap(([value, name]) => [
    request('length-value', '0 bad_request', post(`${name}: ${value}\r\n`, `hello${HIDDEN}`)),
    response('length-value', '0 upstream_invalid', `HTTP/1.1 200 OK\r\n${name}: ${value}\r\n\r\nhello`),
  ]);
  const blanks = ['', ' ', '\t', '  \t '];
  const good = times(times(blanks, blanks), NAMES).map(([[before, after], name]) =>
    request('length-blanks', '2 end', post(`${name}:${before}5${after}\r\n`, `hello${HIDDEN}`)),
  );
  return [...bad, ...good];
}

function repeatedLength(): Case[] {
  const values = ['0', '5', '6', '05', '', 'x'];
  return times(times(values, values), ['', 'X: y\r\n']).flatMap(([[a, b], between]) => {
    const lines = `Content-Length: ${a}\r\n${between}content-length: ${b}\r\n`;
    return [
      request('length-repeated', '0 bad_request', post(lines, `hello${HIDDEN}`)),
      response('length-repeated', '0 upstream_invalid', `HTTP/1.1 200 OK\r\n${lines}\r\nhello`),
    ];
  });
}

function bothFramings(): Case[] {
  const lengthsTried = ['0', '3', '4', '5', '6', '13', '30', '44'];
  const bodies = [
    '0\r\n\r\n',
    '5\r\nhello\r\n0\r\n\r\n',
    `0\r\n\r\n${HIDDEN}`,
    `2d\r\n${HIDDEN}\r\n0\r\n\r\n`,
    'hello',
  ];
  return times(times(lengthsTried, bodies), [true, false]).flatMap(([[length, body], lengthFirst]) => {
    const fields = [`Content-Length: ${length}\r\n`, 'Transfer-Encoding: chunked\r\n'];
    const lines = (lengthFirst ? fields : fields.toReversed()).join('');
    return [
      request(lengthFirst ? 'CL.TE' : 'TE.CL', '0 bad_request', post(lines, body)),
      response(
        lengthFirst ? 'CL.TE' : 'TE.CL',
        '0 upstream_invalid',
        `HTTP/1.1 200 OK\r\n${lines}\r\n${body}`,
      ),
    ];
  });
}

/** A body where none is usual is still that request's body: what it holds is no second request. */
function noBody(): Case[] {
  const methods = [
    'GET',
    'HEAD',
    'OPTIONS',
    'DELETE',
    'TRACE',
    'PUT',
    'PATCH',
    'FOO',
    'M-SEARCH',
    'PROPFIND',
  ];
  const own = methods.flatMap((method) => {
    const start = `${method} / HTTP/1.1\r\nHost: a\r\n`;
    return [
      request('CL.0', '1 end', `${start}Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`),
      request('CL.0', '2 end', `${start}Content-Length: 0\r\n\r\n${HIDDEN}`),
      request('CL.0', '2 end', `${start}\r\n${HIDDEN}`),
      request(
        'CL.0',
        '1 end',
        `${start}Transfer-Encoding: chunked\r\n\r\n${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
      ),
    ];
  });
  return [
    ...own,
    request('CL.0', '2 end', post('', HIDDEN)),
    request('CL.0', '0 partial', post('Content-Length: 100\r\n', HIDDEN)),
    request('CL.0', '3 end', `${get('')}${HIDDEN}${HIDDEN}`),
    request('CL.0', '1 bad_request', post('Content-Length: 5\r\n', `hello\r\n\r\n${HIDDEN}`)),
    request('CL.0', '2 end', post('Content-Length: 5\r\n', `hello\r\n${HIDDEN}`)),
    request('CL.0', '1 bad_request', post('Content-Length: 5\r\n', `hello\n${HIDDEN}`)),
    request(
      'CL.0',
      '0 bad_request',
      `CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
    ),
    request(
      'CL.0',
      '0 bad_request',
      `CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ),
    request('CL.0', '1 tunnel', `CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n${HIDDEN}`),
    request('CL.0', '1 tunnel', `CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`),
    ...['Content_Length', 'CONTENT_LENGTH', 'content_length'].map((name) =>
      request('length-name', '0 bad_request', post(`${name}: 5\r\n`, `hello${HIDDEN}`)),
    ),
  ];
}
