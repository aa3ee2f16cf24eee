import { type Case, request, response, times } from './case.ts';

const OCTETS = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const isToken = (octet: string) => /^[A-Za-z0-9!#$%&'*+.^_`|~-]$/.test(octet);
const isValue = (octet: string) => /^[\t\x20-\x7e\x80-\xff]$/.test(octet);

/** Every octet in every place where octets are classified. */
export function octets(): Case[] {
  return OCTETS.flatMap((octet) => [
    ...names(octet),
    ...values(octet),
    ...requestLine(octet),
    ...statusLine(octet),
    ...chunks(octet),
  ]);
}

function names(octet: string): Case[] {
  const ok = isToken(octet);
  const say = (good: boolean) => (good ? '1 end' : '0 bad_request');
  const wrap = (name: string) => `GET / HTTP/1.1\r\nHost: a\r\n${name}: v\r\n\r\n`;
  return [
    request('name-octet', say(ok), wrap(`${octet}Name`)),
    request('name-octet', say(ok || octet === ':'), wrap(`Na${octet}me`)),
    request('name-octet', say(ok || octet === ':'), wrap(`Name${octet}`)),
    response(
      'name-octet',
      ok || octet === ':' ? '1 end' : '0 upstream_invalid',
      `HTTP/1.1 204 No\r\nNa${octet}me: v\r\n\r\n`,
    ),
  ];
}

function values(octet: string): Case[] {
  const wrap = (value: string) => `GET / HTTP/1.1\r\nHost: a\r\nName:${value}\r\nLast: v\r\n\r\n`;
  return [`${octet}v`, `v${octet}w`, `v${octet}`]
    .map((value) => request('value-octet', isValue(octet) ? '1 end' : '0 bad_request', wrap(value)))
    .concat(
      response(
        'value-octet',
        isValue(octet) ? '1 end' : '0 upstream_invalid',
        `HTTP/1.1 204 No\r\nName: v${octet}w\r\n\r\n`,
      ),
    );
}

function requestLine(octet: string): Case[] {
  const isTarget = /^[\x21\x22\x24-\x7e]$/.test(octet);
  const rest = ' HTTP/1.1\r\nHost: a\r\n\r\n';
  return [
    request('method-octet', isToken(octet) ? '1 end' : '0 bad_request', `G${octet}T /${rest}`),
    request('target-octet', isTarget ? '1 end' : '0 bad_request', `GET /a${octet}b${rest}`),
    request('target-octet', isTarget ? '1 end' : '0 bad_request', `GET /a?b=${octet}${rest}`),
    request(
      'version-octet',
      octet === '/' ? '1 end' : '0 bad_request',
      `GET / HTTP${octet}1.1\r\nHost: a\r\n\r\n`,
    ),
    request(
      'line-end-octet',
      octet === '\n' ? '1 end' : '0 bad_request',
      `GET / HTTP/1.1\r${octet}Host: a\r\n\r\n`,
    ),
    request(
      'line-end-octet',
      octet === '\n' ? '1 end' : '0 bad_request',
      `GET / HTTP/1.1\r\nHost: a\r${octet}X: y\r\n\r\n`,
    ),
    request(
      'head-end-octet',
      octet === '\n' ? '1 end' : '0 bad_request',
      `GET / HTTP/1.1\r\nHost: a\r\n\r${octet}`,
    ),
  ];
}

function statusLine(octet: string): Case[] {
  const say = (ok: boolean) => (ok ? '1 end' : '0 upstream_invalid');
  return [
    response('reason-octet', say(isValue(octet)), `HTTP/1.1 204 N${octet}o\r\n\r\n`),
    response('status-octet', say(octet === ' '), `HTTP/1.1 204${octet}No\r\n\r\n`),
    response('status-octet', say(/\d/.test(octet)), `HTTP/1.1 4${octet}0 No\r\nContent-Length: 0\r\n\r\n`),
    response('status-octet', say(octet === ' '), `HTTP/1.1${octet}204 No\r\n\r\n`),
  ];
}

function chunks(octet: string): Case[] {
  const wrap = (body: string) =>
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}0\r\n\r\n`;
  const say = (ok: boolean) => (ok ? '1 end' : '0 bad_request');
  return [
    request(
      'chunk-size-octet',
      /^[1-9a-f]$/i.test(octet) ? '0 partial' : say(octet === '0'),
      wrap(`${octet}2\r\nab\r\n`),
    ),
    request('chunk-size-end-octet', say(octet === '\r'), wrap(`2${octet}\nab\r\n`)),
    request('chunk-data-end-octet', say(octet === '\r'), wrap(`2\r\nab${octet}\n`)),
    request('chunk-data-end-octet', say(octet === '\n'), wrap(`2\r\nab\r${octet}`)),
    ...times(['a', 'a=b', 'a="b"'], [octet]).map(([extension]) =>
      request(
        'chunk-extension-octet',
        say(extensionGoesOn(extension, octet)),
        wrap(`2;${extension}${octet}c\r\nab\r\n`),
      ),
    ),
    request('chunk-quoted-octet', say(isValue(octet) && octet !== '"'), wrap(`2;a="b${octet}c"\r\nab\r\n`)),
  ];
}

/** Whether `extension`, this octet and "c" are extensions. */
function extensionGoesOn(extension: string, octet: string): boolean {
  if (octet === ';') return true;
  return extension.endsWith('"') ? false : isToken(octet) || (octet === '=' && extension === 'a');
}
