import { type Case, get, HIDDEN, post, request, response, times } from './case.ts';

const NOT_CRLF = ['\n', '\r', '\n\r', '\r\r\n', '\r\r', '\r \n', ' \n', '\x0b\n', '\x00\r\n', '\r\x00\n'];

/** How lines begin and end, and the start line. */
export function structure(): Case[] {
  return [
    ...terminators(),
    ...folding(),
    ...requestLines(),
    ...versions(),
    ...emptyLines(),
    ...methods(),
    ...fields(),
  ];
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

function requestLines(): Case[] {
  const bad = [
    'GET  / HTTP/1.1',
    'GET /  HTTP/1.1',
    'GET / HTTP/1.1 ',
    ' GET / HTTP/1.1',
    'GET\t/ HTTP/1.1',
    'GET /\tHTTP/1.1',
    '\tGET / HTTP/1.1',
    'GET / HTTP/1.1\t',
    'GET /',
    'GET',
    'GET ',
    'GET  HTTP/1.1',
    'GET / ',
    '/ HTTP/1.1',
    'GET / HTTP',
    'GET / HTTP/',
    'GET / HTTP/1',
    'GET / HTTP/1.',
    'GET / HTTP/1.1.',
    'GET / HTTP/11',
    'GET / HTTP/1.1x',
    'GET / http/1.1',
    'GET / HTTPS/1.1',
    'GET / ICE/1.0',
    'GET / RTSP/1.0',
    'GET / HTTP /1.1',
    'GET / HTTP/ 1.1',
    'GET / HTTP/1 .1',
    'GET /a b HTTP/1.1',
    'GET /a b c HTTP/1.1',
    'GET / HTTP/1.1 HTTP/1.1',
    'GET / HTTP/1.1 GET',
    'GET /#f HTTP/1.1',
    'GET /a#b HTTP/1.1',
    'GET # HTTP/1.1',
    'GET ?a HTTP/1.1',
    'GET a HTTP/1.1',
    'GET a/b HTTP/1.1',
    'GET * HTTP/1.1',
    'POST * HTTP/1.1',
    'GET ** HTTP/1.1',
    'OPTIONS ** HTTP/1.1',
    'GET a:443 HTTP/1.1',
    'GET //[ HTTP/1.1\n',
    'GET ftp://a/ HTTP/1.1',
    'GET http:/a HTTP/1.1',
    'GET http:a HTTP/1.1',
    'GET http:// HTTP/1.1',
    'GET http:/// HTTP/1.1',
    'GET https:// HTTP/1.1',
    'GET http://u@a/ HTTP/1.1',
    'GET http://u:p@a/ HTTP/1.1',
    'GET http://a:/ HTTP/1.1',
    'GET http://a:x/ HTTP/1.1',
    'GET http://a:0/ HTTP/1.1',
    'GET http://a:65536/ HTTP/1.1',
    'GET http://a\\b/ HTTP/1.1',
    'GET http://a%2eb/ HTTP/1.1',
    'GET ws://a/ HTTP/1.1',
    'GET http://[::1/ HTTP/1.1',
    'GET http://[::1%25eth0]/ HTTP/1.1',
    'GET javascript:x HTTP/1.1',
    'CONNECT a HTTP/1.1',
    'CONNECT / HTTP/1.1',
    'CONNECT a: HTTP/1.1',
    'CONNECT :443 HTTP/1.1',
    'CONNECT a:0 HTTP/1.1',
    'CONNECT a:65536 HTTP/1.1',
    'CONNECT a:443/ HTTP/1.1',
    'CONNECT * HTTP/1.1',
    'CONNECT http://a:443 HTTP/1.1',
    'CONNECT u@a:443 HTTP/1.1',
    'CONNECT a:443:443 HTTP/1.1',
    'CONNECT ::1:443 HTTP/1.1',
    'CONNECT a:+443 HTTP/1.1',
    'CONNECT a:0x1bb HTTP/1.1',
    'CONNECT 0x7f.1:443 HTTP/1.1',
    'CONNECT 127.1:443 HTTP/1.1',
    'CONNECT 0177.0.0.1:443 HTTP/1.1',
    'CONNECT 2130706433:443 HTTP/1.1',
    'CONNECT [::1:443 HTTP/1.1',
    'CONNECT [::1%25lo]:443 HTTP/1.1',
    'CONNECT [v1.a]:443 HTTP/1.1',
    'CONNECT a..b:443 HTTP/1.1',
    'CONNECT a?b:443 HTTP/1.1',
  ];
  const good = [
    ['GET / HTTP/1.1', '1 end'],
    ['GET // HTTP/1.1', '1 end'],
    ['GET /?a?b HTTP/1.1', '1 end'],
    ['OPTIONS * HTTP/1.1', '1 end'],
    ['OPTIONS / HTTP/1.1', '1 end'],
    ['GET http://a/ HTTP/1.1', '1 end'],
    ['GET http://a HTTP/1.1', '1 end'],
    ['GET http://a?b HTTP/1.1', '1 end'],
    ['GET HTTP://A/ HTTP/1.1', '1 end'],
    ['GET http://a:80/ HTTP/1.1', '1 end'],
    ['GET http://a./ HTTP/1.1', '1 end'],
    ['GET /http://b/ HTTP/1.1', '1 end'],
    ['GET /{"a"}|^` HTTP/1.1', '1 end'],
    ['GET /%zz HTTP/1.1', '1 end'],
    ['GET /a\\b HTTP/1.1', '1 end'],
    ['CONNECT a:443 HTTP/1.1', '1 tunnel'],
    ['CONNECT A.B:1 HTTP/1.1', '1 tunnel'],
    ['CONNECT [::1]:443 HTTP/1.1', '1 tunnel'],
    ['CONNECT 1.2.3.4:65535 HTTP/1.1', '1 tunnel'],
  ] as const;
  return [
    ...bad.map((line) => request('request-line', '0 bad_request', `${line}\r\nHost: a\r\n\r\n`)),
    ...good.map(([line, expect]) => request('request-line', expect, `${line}\r\nHost: a\r\n\r\n`)),
  ];
}

function versions(): Case[] {
  const unknown = ['0.9', '0.0', '0.1', '1.2', '1.9', '2.0', '2.1', '3.0', '9.9'];
  const malformed = [
    '1.',
    '.1',
    '1',
    '1.10',
    '1.01',
    '01.1',
    '1,1',
    '1-1',
    '-1.1',
    '1.-1',
    '+1.1',
    'x.y',
    '1.x',
    '١.1',
    '',
  ].map((v) => v.replace('١', '\xd9'));
  const wire = (version: string, method = 'GET /') => `${method} HTTP/${version}\r\nHost: a\r\n\r\n`;
  return [
    ...unknown.flatMap((version) => [
      request('version', '0 version_not_supported', wire(version)),
      response('version', '0 upstream_invalid', `HTTP/${version} 200 OK\r\nContent-Length: 0\r\n\r\n`),
    ]),
    ...malformed.flatMap((version) => [
      request('version', '0 bad_request', wire(version)),
      response('version', '0 upstream_invalid', `HTTP/${version} 200 OK\r\nContent-Length: 0\r\n\r\n`),
    ]),
    request('version', '0 version_not_supported', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    request('version', '1 closed', `GET / HTTP/1.0\r\n\r\n${HIDDEN}`),
    request('version', '1 closed', `GET / HTTP/1.0\r\nHost: a\r\n\r\n${HIDDEN}`),
    request('version', '2 end', `GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n${HIDDEN}`),
    request('version', '1 closed', `GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n${HIDDEN}`),
    request('version', '0 bad_request', 'GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n'),
    request('version', '0 bad_request', 'GET / HTTP/1.0\r\nHost: a b\r\n\r\n'),
    request('version', '1 closed', `POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello${HIDDEN}`),
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

function methods(): Case[] {
  const long = 'M'.repeat(33);
  return [
    ...[
      'get',
      'Get',
      'GETT',
      'G',
      'X-Y',
      'M'.repeat(32),
      'BREW',
      'QUERY',
      'LOCK',
      'UNSUBSCRIBE',
      "!#$%&'*+-.^_`|~0",
    ].map((method) => request('method', '1 end', `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`)),
    ...[long, `${long}M`].map((method) =>
      request('method', '0 method_not_supported', `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`),
    ),
    ...[
      'G(T',
      'G/T',
      'G,T',
      '"GET"',
      '<GET>',
      'G\x80T',
      '{GET}',
      'GET:',
      '[GET]',
      'G@T',
      'G;T',
      'G=T',
      'G\\T',
      'G?T',
    ].map((method) => request('method', '0 bad_request', `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`)),
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
