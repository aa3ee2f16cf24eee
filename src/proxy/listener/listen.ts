import net from 'node:net';
import tls from 'node:tls';
import type { Worker } from '../worker.ts';
import { Gate } from './gate.ts';
import type { ListenerIdentity } from './tls.ts';

/** What accepts agents. */
export interface Listeners {
  /** Accepts no more; connections that are open stay. */
  close(): void;
}

/**
 * Accepts agents; with TLS too where there is an `identity`. All workers share the ports (`reusePort`); the supervisor
 * made sure that nobody else has them.
 */
export async function listen(worker: Worker, identity: ListenerIdentity | undefined): Promise<Listeners> {
  const { listen: plain, tlsListen } = worker.settings;
  const gate = new Gate(worker);
  const servers = [await bind(plain, (socket) => gate.accept(socket))];
  if (tlsListen && identity) servers.push(await bind(tlsListen, (raw) => secure(raw, identity, gate)));
  return {
    close: () => {
      for (const server of servers) server.close();
    },
  };
}

/** The same ways in over TLS. The handshake is part of the approach, and has its time. */
function secure(raw: net.Socket, { context }: ListenerIdentity, gate: Gate): void {
  raw.on('error', () => raw.destroy());
  if (!context) return void raw.destroy();
  gate.acceptOnceHeard(
    raw,
    () => new tls.TLSSocket(raw, { isServer: true, secureContext: context, ALPNProtocols: ['http/1.1'] }),
  );
}

function bind(
  { host, port }: { host: string; port: number },
  accept: (socket: net.Socket) => void,
): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, accept);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, reusePort: true, backlog: 1024 }, () => resolve(server));
  });
}
