import { once } from 'node:events';
import type net from 'node:net';
import tls from 'node:tls';
import type { Certificate } from './certificates.ts';

/** A TLS server on a loopback port of its own, with the connections that are open on it now. */
export interface TlsServer {
  readonly server: tls.Server;
  readonly port: number;
  readonly sockets: ReadonlySet<tls.TLSSocket>;
  /** Handshakes so far. */
  readonly accepted: () => number;
  /** TCP connections now, whatever their handshake came to. */
  readonly open: () => number;
  /** Cuts every connection off with a TCP reset. */
  readonly reset: () => void;
  /** Closes the server and what is open on it. */
  readonly close: () => Promise<void>;
}

/** Starts a server with `certificate`, on 127.0.0.1 unless told otherwise; `onSocket` gets each connection after its handshake. */
export async function startTlsServer(
  certificate: Certificate,
  onSocket: (socket: tls.TLSSocket) => void = () => {},
  options: tls.TlsOptions = {},
  listen: { readonly host: string; readonly port: number } = { host: '127.0.0.1', port: 0 },
): Promise<TlsServer> {
  const sockets = new Set<tls.TLSSocket>();
  const raw = new Set<net.Socket>();
  let accepted = 0;
  const server = tls.createServer({ ...certificate, ALPNProtocols: ['http/1.1'], ...options });
  server.on('connection', (socket: net.Socket) => {
    raw.add(socket);
    socket.on('error', () => {}); // a client that leaves is the client's test
    socket.on('close', () => raw.delete(socket));
  });
  server.on('secureConnection', (socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
    onSocket(socket);
  });
  server.listen(listen.port, listen.host);
  await once(server, 'listening');
  return {
    server,
    port: portOf(server),
    sockets,
    accepted: () => accepted,
    open: () => raw.size,
    reset: () => {
      for (const socket of raw) socket.resetAndDestroy();
    },
    close: async () => {
      for (const socket of raw) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** The port of a server that listens on TCP. */
export function portOf(server: net.Server): number {
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('The server does not listen on TCP.');
  return address.port;
}
