import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Stage } from './stage.ts';
import { FAULTS } from './table.ts';

/** The longest pause before a lost token is tried again is 5 s. */
const BY_ITSELF_MS = 6_000;

/** The vault waits 5 s for a call that hangs. */
const SHORT_DEADLINE_MS = 300;

t.setTimeout(180_000);
const stage = await Stage.open();
t.teardown(() => stage.close());

t.ok(FAULTS.length >= 30, 'the table is as long as it was promised to be');
t.equal(new Set(FAULTS.map(({ fault }) => fault)).size, FAULTS.length);

for (const { fault, provoke, ask = 'unwrap', sees, health, logins, mend, recovers } of FAULTS) {
  t.test(fault, async (t) => {
    stage.shim.calls();
    if (typeof provoke === 'function') await provoke(stage);
    else stage.shim.control(...provoke);
    const deadline = sees === 'channel_timeout' ? [SHORT_DEADLINE_MS] : [];
    t.equal((await stage.code(ask, ...deadline)) ?? 'an answer', sees, 'what the caller sees');
    if (health) t.match(await stage.health(), health, 'what health says');
    if (logins !== undefined) {
      for (let more = 0; more < 3; more++) await stage.code(ask);
      t.equal(stage.shim.calls().filter((name) => name === 'C_Login').length, logins, 'logins tried');
    }

    await mend?.(stage);
    stage.shim.control();
    if (recovers === 'restarted') await stage.restart();
    const until = Date.now() + BY_ITSELF_MS;
    let code = await stage.code('unwrap');
    while (recovers === 'by itself' && code !== undefined && Date.now() < until) {
      t.ok(code === 'hsm_unavailable' || code === sees, 'until it has recovered');
      await sleep(20);
      code = await stage.code('unwrap');
    }
    t.equal(code, undefined, `recovered ${recovers}`);
    t.same(await stage.losses(), [], 'nothing is lost');
    t.match(await stage.health(), { state: 'ok', error: null });
  });
}
