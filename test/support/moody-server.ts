import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { makeCa, makeServerCert } from './certificates.ts';
import { startTlsServer } from './tls-server.ts';

/** A server that answers at any time, with anything, in pieces, or not at all; and how many requests it works on. */
export async function startMoodyServer() {
  const ca = makeCa();
  let working = 0;
  let seen = 0;
  const server = http.createServer((request, response) => {
    working++;
    seen++;
    response.on('close', () => working--);
    request.resume();
    const mood = Math.random();
    if (mood < 0.2) return; // never
    const timer = setTimeout(async () => {
      response.writeHead(200, mood < 0.5 ? { 'content-length': 3_000 } : {});
      for (let piece = 0; piece < 3 && !response.destroyed; piece++) {
        response.write(randomBytes(1_000));
        await delay(Math.random() * 5);
      }
      if (mood < 0.9) response.end();
    }, Math.random() * 10);
    response.on('close', () => clearTimeout(timer));
  });
  server.on('clientError', (_, socket) => socket.destroy());
  const tls = await startTlsServer(makeServerCert(ca, 'a.test'), (socket) =>
    server.emit('connection', socket),
  );
  return { ca, tls, working: () => working, seen: () => seen };
}
