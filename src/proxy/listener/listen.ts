import net from 'node:net';
import type { Worker } from '../worker.ts';
import { Gate } from './gate.ts';

/** What accepts agents. */
export interface Listeners {
  /** Accepts no more; connections that are open stay. */
  close(): void;
}

/** Accepts agents. All workers share the port (`reusePort`); the supervisor made sure that nobody else has it. */
export async function listen(worker: Worker): Promise<Listeners> {
  const gate = new Gate(worker);
  const options = { allowHalfOpen: true, noDelay: true, keepAlive: true };
  const server = net.createServer(options, (socket) => gate.accept(socket));
  await bind(server, worker.settings.listen);
  return { close: () => server.close() };
}

function bind(server: net.Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, reusePort: true, backlog: 1024 }, resolve);
  });
}
