import { randomBytes } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { makeCa, makeServerCert } from './certificates.ts';
import { startTlsServer } from './tls-server.ts';

/** A server that answers at any time, with anything, in pieces, or not at all; and how many requests it works on. */
export async function startMoodyServer(protocol: 'http/1.1' | 'h2' = 'http/1.1') {
  const ca = makeCa();
  let working = 0;
  let seen = 0;
  const answer = (
    request: http.IncomingMessage | http2.Http2ServerRequest,
    response: http.ServerResponse | http2.Http2ServerResponse,
  ): void => {
    working++;
    seen++;
    response.on('close', () => working--);
    request.on('error', () => {});
    response.on('error', () => {});
    request.resume();
    const mood = Math.random();
    if (mood < 0.2) return; // never
    const timer = setTimeout(async () => {
      const length = mood < 0.5 ? { 'content-length': 3_000 } : {};
      if ('stream' in response) response.writeHead(200, length);
      else response.writeHead(200, length);
      for (let piece = 0; piece < 3 && !response.destroyed; piece++) {
        if ('stream' in response) response.write(randomBytes(1_000));
        else response.write(randomBytes(1_000));
        await delay(Math.random() * 5);
      }
      if (mood < 0.9) response.end();
    }, Math.random() * 10);
    response.on('close', () => clearTimeout(timer));
  };
  const server = protocol === 'h2' ? http2.createServer(answer) : http.createServer(answer);
  server.on('clientError', (_, socket) => socket.destroy());
  const options = { ALPNProtocols: [protocol] };
  const tls = await startTlsServer(
    makeServerCert(ca, 'a.test'),
    (socket) => server.emit('connection', socket),
    options,
  );
  return { ca, tls, working: () => working, seen: () => seen };
}
