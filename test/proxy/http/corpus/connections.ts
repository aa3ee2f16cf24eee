import { type Case, get, HIDDEN, post, request, response, times } from './case.ts';

/** Fields about the connection, and what a response is framed by. */
export function connections(): Case[] {
  return [...persistence(), ...expectations(), ...upgrades(), ...statusLines(), ...responseFraming()];
}

function persistence(): Case[] {
  const one = (value: string, expect: string) =>
    request('connection', expect, `${get(`Connection: ${value}\r\n`)}${HIDDEN}`);
  return [
    ...[
      'keep-alive',
      'Keep-Alive',
      '',
      'x',
      'TE',
      'te, x',
      ',x,,',
      'keep-alive, x',
      'transfer-encoding',
      'authorization',
      'closed',
      'not-close',
    ].map((v) => one(v, '2 end')),
    ...[
      'close',
      'Close',
      'CLOSE',
      'close, x',
      'x,close',
      'x , close',
      ',close',
      'keep-alive, close',
      'close,',
      '\tclose',
    ].map((v) => one(v, '1 closed')),
    ...[
      'content-length',
      'Content-Length',
      'x, host',
      'HOST',
      'close, content-length',
      'clo se',
      'close;',
      '"close"',
      'close x',
      'a/b',
      'x=y',
      '\xe9',
      'close, "x"',
    ].map((v) => one(v, '0 bad_request')),
    request('connection', '1 closed', `${get('Connection: x\r\nX: y\r\nconnection: close\r\n')}${HIDDEN}`),
    request('connection', '1 closed', `${get('Connection: keep-alive\r\nConnection: close\r\n')}${HIDDEN}`),
    request('connection', '2 end', `${get('Proxy-Connection: close\r\n')}${HIDDEN}`),
    request('connection', '0 bad_request', `${get('Connection: close\r\nConnection: host\r\n')}${HIDDEN}`),
  ];
}

function expectations(): Case[] {
  const body = 'Content-Length: 5\r\n';
  return [
    ...['100-continue', '100-Continue', ' 100-CONTINUE '].map((value) =>
      request('expect', '2 end', post(`Expect: ${value}\r\n${body}`, `hello${HIDDEN}`)),
    ),
    ...['', '100', 'x', '100-continue, x', '100-continue;a', '"100-continue"', '200-ok', '100-continued'].map(
      (value) =>
        request('expect', '0 expectation_failed', post(`Expect: ${value}\r\n${body}`, `hello${HIDDEN}`)),
    ),
    request('expect', '0 bad_request', post(`Expect: 100-continue\x00\r\n${body}`, 'hello')),
  ];
}

function upgrades(): Case[] {
  const values = ['websocket', 'h2c', 'TLS/1.2', 'x', ''];
  return [
    ...times(values, ['upgrade', 'Upgrade, HTTP2-Settings', 'keep-alive']).map(([upgrade, connection]) =>
      request('upgrade', '2 end', `${get(`Connection: ${connection}\r\nUpgrade: ${upgrade}\r\n`)}${HIDDEN}`),
    ),
    ...values.map((upgrade) =>
      request(
        'upgrade',
        '2 end',
        post(`Connection: upgrade\r\nUpgrade: ${upgrade}\r\nContent-Length: 5\r\n`, `hello${HIDDEN}`),
      ),
    ),
    response(
      'upgrade',
      '1 tunnel',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00',
    ),
    response('upgrade', '1 tunnel', 'HTTP/1.1 200 OK\r\n\r\nbytes', 'CONNECT'),
    response('upgrade', '1 tunnel', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes', 'CONNECT'),
    response('upgrade', '1 end', 'HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nbytes', 'CONNECT'),
  ];
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
