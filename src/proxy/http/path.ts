const CONTROL_OR_NOT_ASCII = /[^\x21-\x7e]/;
/** Separators that only some servers honour, empty segments, and dot segments. */
const SEPARATORS = /[\\;]|\/\/|\/\.{1,2}(?=\/|$)/;
/** An escape that is cut or not hexadecimal. */
const BROKEN_ESCAPE = /%(?![0-9A-Fa-f]{2})/;
/** An escape whose two digits differ in case: no encoder writes one, so it is there to miss a comparison. */
const MIXED_ESCAPE = /%(?:[a-f][A-F]|[A-F][a-f])/;
/** Escapes of controls, of "%" (decoded twice?), "/", ";", "\" and of the unreserved characters: decoded by some. */
const CONTESTED_ESCAPE = /%(?:[01].|7f|25|2f|3b|5c|2d|2e|5f|7e|3[0-9]|4[1-9a-f]|5[0-9a]|6[1-9a-f]|7[0-9a])/i;

/**
 * Whether every server reads this path (without its query) in the same way, so that a rule may be decided by it.
 * False for dot segments, empty segments, "\", ";", and for escapes that some servers decode before they route:
 * "%2e", "%2f", "%5c", "%25", escaped letters, controls, invalid or mixed-case escapes, and bytes that are not UTF-8
 * (overlong forms of "." and "/" among them).
 */
export function pathIsUnambiguous(path: string): boolean {
  if (!path.startsWith('/') || CONTROL_OR_NOT_ASCII.test(path) || SEPARATORS.test(path)) return false;
  if (!path.includes('%')) return true;
  return (
    !BROKEN_ESCAPE.test(path) && !MIXED_ESCAPE.test(path) && !CONTESTED_ESCAPE.test(path) && isUtf8(path)
  );
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false; // its escapes are no UTF-8
  }
}
