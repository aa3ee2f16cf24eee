import { type Case, response } from './case.ts';

/** The status-line, and what a response is framed by. */
export function responses(): Case[] {
  return [...statusLines(), ...responseFraming()];
}

function statusLines(): Case[] {
  const rest = '\r\nContent-Length: 0\r\n\r\n';
  const good = [
    'HTTP/1.1 200 OK',
    'HTTP/1.1 200 ',
    'HTTP/1.1 200',
    'HTTP/1.1 200 \xe9',
    'HTTP/1.1 200 a b  c ',
    'HTTP/1.1 999 x',
    'HTTP/1.1 600 x',
    'HTTP/1.1 200  OK',
    'HTTP/1.1 200 \t',
  ];
  const bad = [
    'HTTP/1.1',
    'HTTP/1.1 ',
    'HTTP/1.1  200 OK',
    ' HTTP/1.1 200 OK',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1 20x OK',
    'HTTP/1.1 +20 OK',
    'HTTP/1.1 -20 OK',
    'HTTP/1.1 099 x',
    'HTTP/1.1 000 x',
    'HTTP/1.1\t200 OK',
    'HTTP/1.1 200\tOK',
    'http/1.1 200 OK',
    'HTTP/1.1200 OK',
    'HTTP 200 OK',
    '200 OK',
    'ICY 200 OK',
    'HTTP/1.1 2 00',
    'HTTP/1.1 200OK',
    'GET / HTTP/1.1',
    'HTTP/1.1 200 O\x00K',
    'HTTP/1.1 200 O\rK',
    'HTTP/1.1 200 O\nK',
    'HTTP/1.1 200 O\x7fK',
    'RTSP/1.0 200 OK',
    'HTTP/1.1 200 OK\r\n X: y',
  ];
  return [
    ...good.map((line) => response('status-line', '1 end', `${line}${rest}`)),
    ...bad.map((line) => response('status-line', '0 upstream_invalid', `${line}${rest}`)),
  ];
}

function responseFraming(): Case[] {
  const next = 'HTTP/1.1 204 No\r\n\r\n';
  const bodiless = [100, 102, 103, 150, 199, 204, 304];
  return [
    ...bodiless.flatMap((status) => [
      response('response-framing', '2 end', `HTTP/1.1 ${status} x\r\n\r\n${next}`),
      response('response-framing', '2 end', `HTTP/1.1 ${status} x\r\nContent-Length: 0\r\n\r\n${next}`),
      response(
        'response-framing',
        status < 200 ? '0 upstream_invalid' : '2 end',
        `HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\n${next}`,
      ),
      response(
        'response-framing',
        status < 200 ? '0 upstream_invalid' : status === 204 ? '1 closed' : '2 end',
        `HTTP/1.1 ${status} x\r\nTransfer-Encoding: chunked\r\n\r\n${next}`,
      ),
    ]),
    ...[200, 201, 206, 301, 400, 404, 500, 503, 600].flatMap((status) => [
      response('response-framing', '2 end', `HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\nhello${next}`),
      response(
        'response-framing',
        '2 end',
        `HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\n${next}`,
        'HEAD',
      ),
      response(
        'response-framing',
        '2 end',
        `HTTP/1.1 ${status} x\r\nTransfer-Encoding: chunked\r\n\r\n${next}`,
        'HEAD',
      ),
      response('response-framing', '2 end', `HTTP/1.1 ${status} x\r\n\r\n${next}`, 'HEAD'),
      response('response-framing', '1 closed', `HTTP/1.1 ${status} x\r\n\r\n${next}`),
      response('response-framing', '1 closed', `HTTP/1.0 ${status} x\r\n\r\n${next}`),
      response(
        'response-framing',
        '1 closed',
        `HTTP/1.0 ${status} x\r\nConnection: keep-alive\r\n\r\n${next}`,
      ),
      response(
        'response-framing',
        '1 closed',
        `HTTP/1.0 ${status} x\r\nContent-Length: 5\r\n\r\nhello${next}`,
      ),
      response(
        'response-framing',
        '2 end',
        `HTTP/1.0 ${status} x\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello${next}`,
      ),
      response(
        'response-framing',
        '1 closed',
        `HTTP/1.1 ${status} x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello${next}`,
      ),
      response('response-framing', '0 partial', `HTTP/1.1 ${status} x\r\nContent-Length: 50\r\n\r\nhello`),
    ]),
    response('response-framing', '2 end', `HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n${next}`),
    response(
      'response-framing',
      '2 end',
      `HTTP/1.1 205 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${next}`,
    ),
    response('response-framing', '1 closed', `HTTP/1.1 205 x\r\n\r\n${next}`),
    response('response-framing', '0 upstream_invalid', `HTTP/1.1 205 x\r\nContent-Length: 5\r\n\r\nhello`),
    response('response-framing', '3 end', `HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n${next}`),
  ];
}
