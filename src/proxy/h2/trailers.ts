import type http2 from 'node:http2';

/** Names and values by turns as an object, which is how node:http2 takes trailers and interim answers. */
export function grouped(fields: readonly string[]): http2.OutgoingHttpHeaders {
  const byName: Record<string, string[]> = Object.create(null);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    byName[name] = [...(byName[name] ?? []), fields[i + 1] ?? ''];
  }
  return byName;
}

/** The field lines of a trailer section of HTTP/1.1, for HTTP/2. */
export function trailersOf(lines: string): http2.OutgoingHttpHeaders {
  const fields = lines.split('\r\n').flatMap((line) => {
    const colon = line.indexOf(':');
    return colon < 0 ? [] : [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return grouped(fields);
}
