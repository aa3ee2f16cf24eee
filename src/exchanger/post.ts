import http from 'node:http';
import type { Socket } from 'node:net';
import { SallyportError } from '../errors.ts';
import type { OutgoingRequest } from './request.ts';

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** An answer with a token has a few kilobytes. */
const MAX_BODY = 64 * 1024;
const MAX_HEAD = 16 * 1024;

/**
 * Sends the request over `socket`, which is verified, and reads the answer: bounded, and followed nowhere. Throws
 * exchange_failed where it is too large, breaks off or is no HTTP; the signal's reason as exchange_failed.
 */
export function post(
  socket: Socket,
  { host, path, headers, body }: OutgoingRequest,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      createConnection: () => socket,
      method: 'POST',
      path,
      headers: { host, ...headers },
      setHost: false,
      maxHeaderSize: MAX_HEAD,
      insecureHTTPParser: false,
      signal,
    });
    const fail = (why: string, cause?: unknown): void => {
      request.destroy();
      reject(failed(why, cause));
    };
    request.on('error', (error) =>
      fail(signal.aborted ? 'it did not answer in time' : 'its answer could not be read', error),
    );
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_BODY) fail(`its answer has more than ${MAX_BODY} bytes`);
        else chunks.push(chunk);
      });
      response.on('error', (error) => fail('its answer broke off', error));
      response.on('end', () => {
        if (!response.complete) fail('its answer broke off');
        else resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) });
      });
    });
    request.end(body);
  });
}

function failed(why: string, cause?: unknown): SallyportError {
  return new SallyportError('exchange_failed', `The token endpoint cannot be used: ${why}.`, { cause });
}
