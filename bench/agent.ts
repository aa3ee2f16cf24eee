import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { HOST, type Target } from './peer.ts';

/** An agent's connection to HOST as `target` says: TLS, inside a tunnel where there is one. Throws where it is refused. */
export async function connect({ port, roots, tunnel, user }: Target): Promise<tls.TLSSocket> {
  const socket = net.connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  if (tunnel !== undefined) {
    const credentials = Buffer.from(user ?? '').toString('base64');
    socket.write(
      `CONNECT ${tunnel} HTTP/1.1\r\nHost: ${tunnel}\r\nProxy-Authorization: Basic ${credentials}\r\n\r\n`,
    );
    const [answer] = await once(socket, 'data');
    if (!String(answer).startsWith('HTTP/1.1 200')) throw new Error(`CONNECT: ${String(answer)}`);
  }
  const secure = tls.connect({ socket, servername: HOST, ca: readFileSync(roots) });
  await once(secure, 'secureConnect');
  return secure;
}
