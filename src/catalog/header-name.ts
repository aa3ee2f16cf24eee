/** Fields that frame a message, route it, or concern one connection: no credential may be written over them. */
const RESERVED = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'content-encoding',
  'accept-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'http2-settings',
  'te',
  'trailer',
  'expect',
  'max-forwards',
]);

/** What is wrong with a field name as a place for a credential (RFC 9110, 5.1 and 7.6.1), or null. */
export function headerNameProblem(name: string): string | null {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(name))
    return `"${name}" is no header name (RFC 9110 token)`;
  const folded = foldHeaderName(name);
  if (RESERVED.has(folded) || folded.startsWith('proxy-')) {
    return `${name} belongs to the connection or the framing and cannot carry a credential`;
  }
  return null;
}

/** Servers that hand fields on as variables read X_Api_Key and x-api-key alike: one place, one name. */
export function foldHeaderName(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}
