import t from 'tap';
import { LIMIT_ROWS, LIMITS } from './limits.ts';
import { play, start } from './play-ways.ts';
import { DENIED, WAYS } from './ways-in.ts';
import { NAMES, SECURE } from './ways-names.ts';

t.test('ways in', async (t) => {
  const scene = await start(t);
  await scene.worker.change(({ agents }) => ({
    agents: agents.map((agent) => ({ ...agent, unlisted: 'tunnel' as const })),
  }));
  for (const row of [...WAYS, ...NAMES, ...SECURE]) await play(t, scene, row);
});

t.test('ways in, where hosts that no rule names are denied', async (t) => {
  const scene = await start(t);
  for (const row of DENIED) await play(t, scene, row);
});

t.test('limits', async (t) => {
  const scene = await start(t, LIMITS);
  for (const row of LIMIT_ROWS) await play(t, scene, row);
});
