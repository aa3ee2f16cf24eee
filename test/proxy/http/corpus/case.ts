/** One case of the corpus. */
export interface Case {
  readonly family: string;
  readonly side: 'request' | 'response';
  /** For responses: the method that they answer. */
  readonly asked: string;
  /**
   * What must come of it: the number of complete messages read, then "end", "partial", "closed", "tunnel" or the code
   * of the error. Said by the families' authors, not by the codec.
   */
  readonly expect: string;
  /** The connection's bytes, Latin-1. */
  readonly wire: string;
}

export function request(family: string, expect: string, wire: string): Case {
  return { family, side: 'request', asked: '', expect, wire };
}

export function response(family: string, expect: string, wire: string, asked = 'GET'): Case {
  return { family, side: 'response', asked, expect, wire };
}

/** A request that must never be seen as one of its own when it stands inside another message. */
export const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';

export function post(lines: string, body = ''): string {
  return `POST /p HTTP/1.1\r\nHost: a\r\n${lines}\r\n${body}`;
}

export function get(lines: string): string {
  return `GET /g HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
}

export function times<A, B>(left: readonly A[], right: readonly B[]): [A, B][] {
  return left.flatMap((a) => right.map((b): [A, B] => [a, b]));
}
