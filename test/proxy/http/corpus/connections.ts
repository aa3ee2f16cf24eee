import { type Case, get, HIDDEN, post, request, response, times } from './case.ts';

/** Fields about the connection. */
export function connections(): Case[] {
  return [...persistence(), ...expectations(), ...upgrades()];
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
