import { type Case, get, HIDDEN, post, request, response, times } from './case.ts';

const NOT_CRLF = ['\n', '\r', '\n\r', '\r\r\n', '\r\r', '\r \n', ' \n', '\x0b\n', '\x00\r\n', '\r\x00\n'];

/** How lines begin and end, and what a field line is. */
export function lines(): Case[] {
  return [...terminators(), ...folding(), ...emptyLines(), ...fields()];
}

function terminators(): Case[] {
  const requestLines = ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 5', 'X: y', ''];
  const responseLines = ['HTTP/1.1 200 OK', 'Server: s', 'Content-Length: 5', 'X: y', ''];
  return times(NOT_CRLF, [0, 1, 2, 3, 4]).flatMap(([ending, place]) => {
    const join = (lines: string[]) => lines.map((line, i) => line + (i === place ? ending : '\r\n')).join('');
    return [
      request('terminator', '0 bad_request', `${join(requestLines)}hello`),
      response('terminator', '0 upstream_invalid', `${join(responseLines)}hello`),
    ];
  });
}

function folding(): Case[] {
  const folds = ['\r\n ', '\r\n\t', '\r\n  ', '\r\n \t', '\n ', '\n\t', '\r ', '\r\n \r\n', '\r\n\t\r\n '];
  const places = [
    (fold: string) => get(`X: y${fold}z\r\n`),
    (fold: string) => get(`X:${fold}z\r\n`),
    (fold: string) => get(`X${fold}: z\r\n`),
    (fold: string) => `GET / HTTP/1.1${fold}Host: a\r\n\r\n`,
    (fold: string) => `GET /${fold}HTTP/1.1\r\nHost: a\r\n\r\n`,
    (fold: string) => post(`Content-Length:${fold}5\r\n`, 'hello'),
    (fold: string) => post(`Content-Length: 5${fold}0\r\n`, 'hello'),
    (fold: string) => post(`Transfer-Encoding:${fold}chunked\r\n`, '0\r\n\r\n'),
    (fold: string) => post(`Transfer-Encoding: chunked${fold}, x\r\n`, '0\r\n\r\n'),
    (fold: string) => `GET / HTTP/1.1\r\nHost: a${fold}b\r\n\r\n`,
  ];
  return [
    ...times(folds, places).map(([fold, place]) => request('fold', '0 bad_request', place(fold))),
    ...folds.map((fold) =>
      response('fold', '0 upstream_invalid', `HTTP/1.1 200 OK\r\nX: y${fold}z\r\nContent-Length: 0\r\n\r\n`),
    ),
  ];
}

function emptyLines(): Case[] {
  const bad = [
    '\r\n\r\n',
    '\n',
    '\r',
    '\n\r\n',
    '\r\n\n',
    '\r\r\n',
    '\r\n\r',
    ' \r\n',
    '\r\n ',
    '\x00',
    '\x00\r\n',
    '\t',
    '\xef\xbb\xbf',
  ];
  return [
    request('empty-line', '1 end', `\r\n${HIDDEN}`),
    request('empty-line', '2 end', `${HIDDEN}\r\n${HIDDEN}`),
    request('empty-line', '1 partial', `${HIDDEN}\r\n`),
    ...bad.flatMap((start) => [
      request('empty-line', '0 bad_request', `${start}${HIDDEN}`),
      request('empty-line', '1 bad_request', `${HIDDEN}${start}${HIDDEN}`),
      response('empty-line', '0 upstream_invalid', `${start}HTTP/1.1 204 No\r\n\r\n`),
    ]),
    response('empty-line', '0 upstream_invalid', '\r\nHTTP/1.1 204 No\r\n\r\n'),
  ];
}

function fields(): Case[] {
  const bad = [
    ': v',
    ' : v',
    'X',
    'X v',
    'X :v',
    'X\t: v',
    'X Y: v',
    '"X": v',
    'X/Y: v',
    'X(Y): v',
    'X@Y: v',
    '\xc3\xa9: v',
    'X\x80: v',
    '=: v',
    '{}: v',
    '<X>: v',
    ',: v',
    ';: v',
  ];
  const good = [
    'X:',
    'X: ',
    'X:\t',
    'X:v',
    'X::',
    'X: :',
    "!#$%&'*+-.^_`|~09azAZ: v",
    'X: \x80\xff',
    'X: "a b", c',
    'X: a\tb',
    'x_y: v',
    '0: v',
    'X: {"a":"b"}',
  ];
  return [
    ...bad.flatMap((line) => [
      request('field', '0 bad_request', get(`${line}\r\n`)),
      request('field', '0 bad_request', `GET / HTTP/1.1\r\n${line}\r\nHost: a\r\n\r\n`),
      response('field', '0 upstream_invalid', `HTTP/1.1 204 No\r\n${line}\r\n\r\n`),
    ]),
    ...good.flatMap((line) => [
      request('field', '1 end', get(`${line}\r\n`)),
      request('field', '1 end', `GET / HTTP/1.1\r\n${line}\r\nHost: a\r\n\r\n`),
      response('field', '1 end', `HTTP/1.1 204 No\r\n${line}\r\n\r\n`),
    ]),
  ];
}
