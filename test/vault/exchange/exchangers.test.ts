import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Channel } from '../../../src/channel/channel.ts';
import { Exchangers } from '../../../src/vault/exchange/exchangers.ts';

t.setTimeout(30_000);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-exchangers-'));
const server = createServer(() => {}).listen(join(folder, 'socket'));
await once(server, 'listening');
t.teardown(() => {
  server.close();
  rmSync(folder, { recursive: true });
});
const settings = {
  upstreamCa: '',
  systemCa: '',
  upstreamResolve: [],
  upstreamAllow: [],
  upstreamProxy: null,
  ownListeners: [],
};
let started = 0;
const exchangers = new Exchangers({
  start: async () => {
    const name = `exchanger-${++started}`;
    exchangers.connected(name, await Channel.connect(join(folder, 'socket'), () => ({ header: {} })));
    return name;
  },
  kill: async () => {},
  settings,
  secrets: [],
});

t.test('eight run at a time; the next take their place, or are told when that takes too long', async (t) => {
  const ends: (() => void)[] = [];
  const hold = () => exchangers.run(() => new Promise<void>((resolve) => ends.push(resolve)));
  const running = Array.from({ length: 8 }, hold);
  const [ninth, tenth] = [hold(), hold()];
  tenth.catch(() => {});
  while (ends.length < 8) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(started, 8);
  ends[0]?.();
  await running[0];
  while (ends.length < 9) await new Promise((resolve) => setImmediate(resolve));
  t.equal(started, 9, 'the ninth has begun');
  await t.rejects(tenth, { code: 'exchange_failed', message: /too many tokens are asked for at once/ });
  for (const end of ends) end();
  await Promise.all([...running, ninth]);
  const after = hold();
  while (ends.length < 10) await new Promise((resolve) => setImmediate(resolve));
  ends[9]?.();
  await after;
  t.equal(started, 10, 'the places are free again');
});

t.test(
  'one that cannot be started, or is gone at once, is a failure that gives its place back',
  async (t) => {
    const failing = new Exchangers({
      start: () => Promise.reject(new Error('no process')),
      kill: async () => {},
      settings,
      secrets: [],
    });
    for (let i = 0; i < 20; i++)
      await t.rejects(
        failing.run(async () => {}),
        { code: 'exchange_failed', message: /could not be started/ },
      );
    const request = {
      url: 'https://token.test/',
      authorization: { scheme: 'none' as const },
      body: 'none' as const,
      parameters: [],
      member: 'token' as const,
    };
    const gone = exchangers.run((exchanger) => {
      const asked = exchanger.ask(request, []);
      exchangers.gone(`exchanger-${started}`);
      return asked;
    });
    await t.rejects(gone, { code: 'exchange_failed', message: /the process that asked ended/ });
  },
);
