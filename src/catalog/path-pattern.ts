// The catalog's `path_prefix` names several patterns in one text: "/*.git/* and /*/info/refs".

/** The patterns of a `path_prefix`; none: every path. */
export function splitPaths(prefix: string | null): string[] {
  return prefix === null ? [] : prefix.split(' and ');
}

/**
 * What is wrong with a path pattern, or null. It is compared with a normalised path, so that one which no normalised
 * path has (a dot segment, an empty segment, a query) would never match: better refused than silently dead.
 */
export function pathPatternProblem(path: string): string | null {
  if (!path.startsWith('/')) return `"${path}" does not begin with /`;
  if (!/^[\x21-\x7e]*$/.test(path) || /[?#\\]/.test(path)) return `"${path}" has characters that no path has`;
  if (/\/(?:\.{0,2})\//.test(path) || /\/\.{1,2}$/.test(path)) return `"${path}" has an empty or dot segment`;
  return null;
}
