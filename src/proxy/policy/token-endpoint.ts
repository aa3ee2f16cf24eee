import type { Rule } from '../../channel/messages/policy.ts';

/**
 * Whether a request would reach the endpoint that gives out the tokens for this rule, in any way that a server might read
 * its path: escapes decoded (twice too), "\" for "/", parameters behind ";", empty and dot segments, any case. The vault
 * asks there; with a token in hand an agent could have another given out to itself.
 */
export function isTokenEndpoint({ tokenEndpoint }: Rule, host: string, port: number, path: string): boolean {
  if (tokenEndpoint?.host !== host || tokenEndpoint.port !== port) return false;
  return plain(path) === plain(tokenEndpoint.path);
}

function plain(path: string): string {
  const segments: string[] = [];
  for (const segment of decoded(decoded(path)).replaceAll('\\', '/').split('/')) {
    const name = segment.replace(/;.*/s, '').toLowerCase();
    if (name === '..') segments.pop();
    else if (name !== '' && name !== '.') segments.push(name);
  }
  return segments.join('/');
}

function decoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_escape, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
