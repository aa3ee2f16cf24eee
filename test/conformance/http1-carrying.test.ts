import t from 'tap';
import { Carrier, type CarryRow, play } from '../support/carry.ts';
import { CONNECTIONS } from './http1-connections.ts';
import { FIELDS } from './http1-fields.ts';
import { FRAMING } from './http1-framing.ts';
import { INTERIM } from './http1-interim.ts';
import { STREAMS } from './http1-streams.ts';
import { WEBSOCKET } from './websocket.ts';

const rows: readonly CarryRow[] = [
  ...FRAMING,
  ...INTERIM,
  ...CONNECTIONS,
  ...FIELDS,
  ...STREAMS,
  ...WEBSOCKET,
];

/** "HOST" in a row is the row's own host. */
function placed(row: CarryRow, host: string): CarryRow {
  const steps = JSON.parse(JSON.stringify(row.steps).replaceAll('HOST', host));
  return { ...row, steps };
}

t.test('each row’s bytes, between raw sockets', async (t) => {
  const hosts = rows.map((_, index) => `row${index}.test`);
  const carrier = await Carrier.start(hosts);
  t.teardown(() => carrier.stop());
  for (const [index, row] of rows.entries()) {
    const host = hosts[index] ?? '';
    await play(t, carrier, host, placed(row, host));
  }
});
