import t from 'tap';
import { MET } from './limits-met.ts';
import { play, start } from './play-ways.ts';

t.setTimeout(60_000);

for (const { limits, own, rows } of MET) {
  t.test(`met: ${rows.map(({ item }) => item).join(', ')}`, async (t) => {
    const scene = await start(t, limits, own);
    for (const row of rows) await play(t, scene, row);
  });
}
