let lastMs = Number.NaN;
let lastText = '';

/** Now, as journals write it: RFC 3339, UTC, milliseconds. Formatted once per millisecond: it is on the hot path. */
export function timestamp(): string {
  const now = Date.now();
  if (now !== lastMs) {
    lastMs = now;
    lastText = new Date(now).toISOString();
  }
  return lastText;
}
