/**
 * The server has taken nothing of a request: REFUSED_STREAM, or a GOAWAY that leaves it out (RFC 9113, 8.7). Whatever its
 * method, it may be sent again.
 */
export class Unprocessed extends Error {
  override readonly name = 'Unprocessed';

  constructor() {
    super('the server refused the stream');
  }
}
