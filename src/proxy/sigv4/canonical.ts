/**
 * The parts of a canonical request of Signature Version 4 that come from the request-target and the fields
 * (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
 */

/** RFC 3986's unreserved characters: all else is percent-encoded, in upper case. */
const UNRESERVED = /[A-Za-z0-9\-._~]/;

const ENCODED: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return UNRESERVED.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

/**
 * The canonical URI of a path as it is sent (Latin-1 text, with its leading slash). S3 (`once`) takes the path as it is,
 * encoded once; all others remove dot segments and empty ones, and encode what is encoded already once more.
 */
export function canonicalPath(path: string, once: boolean): string {
  const segments = once ? path.split('/').map(percentDecoded) : normalized(path);
  return segments.map((segment) => encoded(segment)).join('/');
}

/** The canonical query of a query as it is sent (without "?"): decoded, encoded, sorted by name and then value. */
export function canonicalQuery(query: string): string {
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const equals = pair.indexOf('=');
      const name = equals === -1 ? pair : pair.slice(0, equals);
      const value = equals === -1 ? '' : pair.slice(equals + 1);
      return [reencoded(name), reencoded(value)];
    });
  pairs.sort(([a, x], [b, y]) => order(a, b) || order(x, y));
  return pairs.map(([name, value]) => `${name}=${value}`).join('&');
}

/** A field's value: without spaces around it, inner runs of them as one. */
export function canonicalValue(value: string): string {
  return value.trim().replaceAll(/ +/g, ' ');
}

/** `.` and `..` resolved, empty segments left out; a trailing slash stays. */
function normalized(path: string): string[] {
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '' && segment !== '.') kept.push(segment);
  }
  const last = segments.at(-1);
  const open = last === '' || last === '.' || last === '..';
  return ['', ...kept, ...(open && kept.length > 0 ? [''] : []), ...(kept.length === 0 ? [''] : [])];
}

/** In a query "+" stands for a space, as the SDKs read it. */
function reencoded(text: string): string {
  return encoded(percentDecoded(text.replaceAll('+', ' ')));
}

/** Bytes as Latin-1 text; what is no escape stays. */
function percentDecoded(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_escape, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function encoded(latin1: string): string {
  let result = '';
  for (let i = 0; i < latin1.length; i++) result += ENCODED[latin1.charCodeAt(i) & 0xff] ?? '';
  return result;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
