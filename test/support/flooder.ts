import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

/**
 * A program that floods a port, so that whoever measures does not wait behind its own flood: argument: what to do, as
 * JSON; output: how many connections were answered with which status ('' for none), as JSON.
 */
const { port, lines, at, rounds, holdMs } = z
  .strictObject({
    port: z.number(),
    /** What each connection sends at once; "%d" is its number. */
    lines: z.string(),
    /** Connections at once, and how many times. */
    at: z.number(),
    rounds: z.number(),
    /** How long each stays; 0: until it is answered. */
    holdMs: z.number(),
  })
  .parse(JSON.parse(process.argv[2] ?? ''));

const statuses: Record<string, number> = {};
for (let round = 0; round < rounds; round++) {
  await Promise.all(Array.from({ length: at }, (_, i) => send(round * at + i)));
}
process.stdout.write(JSON.stringify(statuses));

async function send(number: number): Promise<void> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(lines.replaceAll('%d', String(number)));
  let status = '';
  socket.once('data', (data) => {
    status = String(data).slice(9, 12);
  });
  const answered = Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => undefined);
  await (holdMs > 0 ? delay(holdMs) : Promise.race([answered, delay(5_000)]));
  socket.destroy();
  statuses[status] = (statuses[status] ?? 0) + 1;
}
