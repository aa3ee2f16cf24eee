import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { connect } from './agent.ts';
import type { Certificates } from './certificates.ts';
import { AUTHORIZATION, HOST, type Target } from './peer.ts';

const PIECE = Buffer.alloc(256 * 1024, 'abcdefgh');
const HEAD_END = '\r\n\r\n';

/** Writes so many bytes as fast as they are taken. */
async function pour(socket: tls.TLSSocket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= PIECE.length) {
    if (!socket.write(PIECE.subarray(0, Math.min(left, PIECE.length)))) await once(socket, 'drain');
  }
}

/** A server that answers GET with `bytes` bytes, and a POST of as many with 204; only with the credential. */
export async function startVolumeServer(port: number, certificates: Certificates, bytes: number) {
  const { certificate, key } = certificates;
  const server = tls.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (socket) => {
    let received = -1;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      const end = received < 0 ? chunk.indexOf(HEAD_END) : 0;
      const head = received < 0 ? chunk.toString('latin1', 0, end) : '';
      if (head !== '' && !head.includes(AUTHORIZATION)) return void socket.destroy();
      if (head.startsWith('GET ')) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}${HEAD_END}`);
        return void pour(socket, bytes);
      }
      received = received < 0 ? chunk.length - end - HEAD_END.length : received + chunk.length;
      if (received < bytes) return;
      received = -1;
      socket.write(`HTTP/1.1 204 No Content${HEAD_END}`);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** Takes `bytes` bytes down and sends as many up. Throws where not all of them arrive. */
export async function carry(target: Target, bytes: number): Promise<void> {
  const down = await connect(target);
  down.write(`GET / HTTP/1.1\r\nHost: ${HOST}${HEAD_END}`);
  let arrived = 0;
  await new Promise<void>((resolve, reject) => {
    down.on('error', reject);
    down.on('close', () => reject(new Error(`the answer ended after ${arrived} bytes`)));
    down.on('data', (chunk: Buffer) => {
      arrived += chunk.length;
      if (arrived > bytes) resolve(); // its head came too
    });
  });
  down.destroy();
  const up = await connect(target);
  up.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: ${bytes}${HEAD_END}`);
  const answered = once(up, 'data');
  await pour(up, bytes);
  const [answer] = await answered;
  if (!String(answer).startsWith('HTTP/1.1 204')) throw new Error(`the body was answered ${String(answer)}`);
  up.destroy();
}
