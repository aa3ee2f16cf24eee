import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { connect, ESTABLISHED, startScene } from './scene.ts';

t.test(
  'a busy agent meets none of them: 50 new tunnels a second, by default, of four workers one',
  async (t) => {
    const scene = await startScene(t, {
      secure: ['a.test:443'],
      workers: 4,
      limits: { tunnelsPerAgent: 1_000 },
    });
    const begun = performance.now();
    for (let i = 1; i <= 100; i++) {
      const agent = await connect(scene, 'a.test:443');
      t.equal(await agent.readTo('\r\n\r\n'), ESTABLISHED);
      agent.socket.destroy();
      await delay(Math.max(0, begun + i * 20 - performance.now()));
    }
    t.same(await scene.worker.metrics(), { problems: {}, limits: {} });
  },
);
