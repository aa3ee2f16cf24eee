import { setTimeout as sleep } from 'node:timers/promises';
import type tls from 'node:tls';
import type { Test } from 'tap';
import type { UpstreamConnection, UpstreamHandler } from '../../../src/proxy/upstream/connection.ts';
import type { UpstreamKey } from '../../../src/proxy/upstream/key.ts';
import { type PoolOptions, UpstreamPool } from '../../../src/proxy/upstream/pool.ts';
import { AddressGuard } from '../../../src/upstream/address-guard.ts';
import { Resolver } from '../../../src/upstream/resolve.ts';
import { makeCa, makeServerCert } from '../../support/certificates.ts';
import { startTlsServer, type TlsServer } from '../../support/tls-server.ts';

export const ca = makeCa();
/** Of good.test and other.test. */
export const certificate = makeServerCert(ca, ['good.test', 'other.test']);

/** A pool and a server that all its names lead to. */
export interface Bench {
  readonly server: TlsServer;
  readonly pool: UpstreamPool;
  key(rest?: Partial<UpstreamKey>): UpstreamKey;
}

/** Answers every "?" with "!". */
function answer(socket: tls.TLSSocket): void {
  socket.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 0x3f) socket.write('!');
  });
}

/** Both are closed with the test, and the pool must then have let go of every connection. */
export async function bench(
  t: Test,
  options: Partial<PoolOptions> = {},
  tlsOptions: tls.TlsOptions = {},
  onSocket = answer,
): Promise<Bench> {
  const server = await startTlsServer(certificate, onSocket, tlsOptions);
  const names = ['good.test', 'other.test', 'evil.test'];
  const overrides = names.map((host) => ({ host, port: 443, address: '127.0.0.1', toPort: server.port }));
  const pool = new UpstreamPool({
    connect: { timeoutMs: 5000 },
    ca: { system: '', extra: ca.cert },
    guard: new AddressGuard({ allow: ['127.0.0.0/8'], ownListeners: [] }),
    resolver: new Resolver({
      overrides,
      timeoutMs: 1000,
      maxConcurrentPerAgent: 4,
      hostsFile: '/nonexistent',
    }),
    ...options,
  });
  t.teardown(async () => {
    pool.close();
    await server.close();
    await until(() => pool.openCount === 0, 'no connection is left');
  });
  return {
    server,
    pool,
    key: (rest = {}) => ({ host: 'good.test', port: 443, agent: 'a', identity: 'c1', ...rest }),
  };
}

/** One exchange: asks, waits for the answer, and gives the connection back. */
export async function exchange(connection: UpstreamConnection): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    connection.handler = {
      onData: (chunk) =>
        chunk.toString() === '!' ? resolve() : reject(new Error(`got ${chunk.toString()}`)),
      onEnd: () => reject(new Error('ended')),
      onClose: (error) => reject(error ?? new Error('closed')),
    };
    connection.socket.write('?');
  });
  connection.release();
}

/** Keeps what it is told, in order. */
export function recorder(): UpstreamHandler & { readonly events: string[] } {
  const events: string[] = [];
  return {
    events,
    onData: (chunk) => events.push(`data ${chunk.toString()}`),
    onEnd: () => events.push('end'),
    onClose: (error) => events.push(error ? 'error' : 'close'),
    onDrain: () => events.push('drain'),
  };
}

/** Waits two seconds at most. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error(`waited in vain: ${what}`);
}
