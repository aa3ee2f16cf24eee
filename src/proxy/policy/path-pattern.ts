/**
 * A path pattern. `length` is its number of literal characters: the longer of two matching patterns is the more
 * specific. `prefix` is set where it is a plain prefix, so that it can be looked up instead of tried.
 */
export interface PathPattern {
  readonly length: number;
  readonly prefix: string | undefined;
  matches(path: string): boolean;
}

/**
 * A prefix ends at a segment: "/v1" covers "/v1" and "/v1/…", not "/v10"; "/v1/" covers what starts with "/v1/".
 */
export function prefixPattern(prefix: string): PathPattern {
  const open = prefix.endsWith('/');
  return {
    length: prefix.length,
    prefix,
    matches: (path) =>
      path.startsWith(prefix) && (open || path.length === prefix.length || path[prefix.length] === '/'),
  };
}

/** A service's pattern: with "*", any run of characters, a glob over the whole path; else a prefix. */
export function servicePattern(text: string): PathPattern {
  if (!text.includes('*')) return prefixPattern(text);
  const pieces = text.split('*');
  return {
    length: text.length - (pieces.length - 1),
    prefix: undefined,
    matches: (path) => globMatches(pieces, path),
  };
}

/**
 * `pieces` are the literals between the stars. Taking the leftmost place of each is enough, since a star stands for
 * any run: so no backtracking, whatever path an agent sends.
 */
function globMatches(pieces: readonly string[], path: string): boolean {
  const first = pieces[0] ?? '';
  const last = pieces[pieces.length - 1] ?? '';
  if (!path.startsWith(first) || !path.endsWith(last)) return false;
  const end = path.length - last.length;
  let at = first.length;
  for (let i = 1; i < pieces.length - 1; i++) {
    const piece = pieces[i] ?? '';
    const found = path.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at <= end;
}
