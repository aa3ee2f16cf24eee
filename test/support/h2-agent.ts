import http2 from 'node:http2';
import type { TestWorker } from './worker.ts';

/** What came back on one stream, names and values by turns as they came. */
export interface Http2Answer {
  readonly interim: readonly (readonly string[])[];
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
  /** The code of the RST_STREAM that ended it; 0 for a proper end. */
  readonly code: number;
}

/** An agent that speaks HTTP/2 in its tunnel to `host`. */
export async function connectHttp2(worker: TestWorker, host: string): Promise<http2.ClientHttp2Session> {
  const socket = await worker.tunnel(`${host}:443`, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${host}`, { createConnection: () => socket });
  session.on('error', () => {}); // the streams tell
  return session;
}

/** Collects what comes back until the stream ends. */
export function answerOf(stream: http2.ClientHttp2Stream): Promise<Http2Answer> {
  const interim: string[][] = [];
  let fields: string[] = [];
  let trailers: string[] = [];
  let body = '';
  stream.on('headers', (_headers, _flags, raw) => interim.push(raw));
  stream.on('response', (_headers, _flags, raw) => {
    fields = raw;
  });
  stream.on('trailers', (_headers, _flags, raw) => {
    trailers = raw;
  });
  stream.on('data', (chunk: Buffer) => {
    body += chunk.toString('latin1');
  });
  stream.on('error', () => {});
  return new Promise((resolve) => {
    stream.on('close', () => resolve({ interim, fields, body, trailers, code: stream.rstCode }));
  });
}
