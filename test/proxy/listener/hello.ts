import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { portOf } from '../../support/tls-server.ts';

/** The first bytes that Node's own TLS client sends. */
export async function hello(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = tls.connect({ port: portOf(server), host: '127.0.0.1', ...options });
  client.on('error', () => {});
  const [socket]: net.Socket[] = await accepted;
  if (!socket) throw new Error('no connection');
  const [bytes]: Buffer[] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return bytes ?? Buffer.alloc(0);
}
