import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Rendezvous } from '../../src/supervisor/rendezvous.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-rendezvous-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const rendezvous = await Rendezvous.open(folder, process.getuid?.() ?? 0);
t.teardown(() => rendezvous.close());

async function dial(): Promise<net.Socket> {
  const socket = net.connect(rendezvous.path);
  await once(socket, 'connect');
  return socket;
}

t.test('joins whoever dials, one after another', async (t) => {
  const joins = await Promise.all([rendezvous.join(dial), rendezvous.join(dial)]);
  for (const [index, { dialled, accepted }] of joins.entries()) {
    dialled.end(`I am ${index}`);
    accepted.resume();
    const [said] = await once(accepted, 'data');
    t.equal(String(said), `I am ${index}`);
    accepted.destroy();
  }
});

t.test('one that fails to dial does not take the socket of the next', async (t) => {
  await t.rejects(
    rendezvous.join(() => Promise.reject(new Error('it died'))),
    /it died/,
  );
  const { dialled, accepted } = await rendezvous.join(dial);
  t.ok(accepted instanceof net.Socket);
  dialled.destroy();
  accepted.destroy();
});
