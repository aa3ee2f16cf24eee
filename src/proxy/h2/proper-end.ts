import type http2 from 'node:http2';

/**
 * Tells, once a stream has ended for its reader, whether its peer ended it (END_STREAM): Node ends one that was reset,
 * or whose connection broke, in the same way, with no error where the code is NO_ERROR or CANCEL. But such a stream is
 * closed already when its end is pushed, and one that was ended is not.
 */
export function properEnd(stream: http2.Http2Stream): () => boolean {
  let proper: boolean | undefined;
  const push = stream.push.bind(stream);
  stream.push = (chunk, encoding) => {
    if (chunk === null) proper ??= !stream.closed;
    return push(chunk, encoding);
  };
  return () => proper === true;
}
