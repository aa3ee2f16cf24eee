import { join } from 'node:path';
import t from 'tap';
import { cli, startSallyport } from '../support/sallyport.ts';

t.setTimeout(180_000);
let sallyport = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(() => sallyport.remove());
await sallyport.cli(['agent', 'add', 'bot']);

t.test('the KEK is rotated with its progress shown, and the old one retired', async (t) => {
  const old = 'sallyport-kek-1';
  t.match(await sallyport.failure(['hsm', 'retire', old]), /^1 sallyport: [^\n]+ \[invalid_argument\]\n$/);
  const { stdout, stderr } = await sallyport.cli(['--json', 'hsm', 'rotate']);
  const steps = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const kek = 'sallyport-kek-2';
  t.same(steps, [
    { kek, made: true, done: 0, total: 2 },
    { kek, made: true, done: 2, total: 2 },
  ]);
  t.equal(stderr, '');
  t.match((await sallyport.cli(['hsm', 'retire', old])).stdout, /^sallyport-kek-1 is destroyed\.\n$/);
  t.same(await sallyport.json(['hsm', 'retire', old]), { retired: old }, 'asked again, it is gone as wanted');
  t.match(
    await sallyport.failure(['hsm', 'retire', 'sallyport-kek-3']),
    /^1 sallyport: The token holds no KEK sallyport-kek-3[^\n]+ \[hsm_key_missing\]\n$/,
  );
  t.match(await sallyport.json(['integrity', 'check']), { state: 'ok' });
  const again = await sallyport.cli(['hsm', 'rotate']);
  t.equal(again.stdout, '2 data keys are rewrapped with sallyport-kek-3.\n');
  t.match(again.stderr, /^\[\.{30}\] 0 of 2\n\[#{30}\] 2 of 2\n/);
});

t.test(
  'after a restore what is behind is brought to the newest KEK, and that none was made is said',
  async (t) => {
    const backup = join(sallyport.data, '..', 'behind.backup');
    await sallyport.cli(['backup', 'create', backup]);
    await sallyport.cli(['hsm', 'rotate']);
    await sallyport.stop();
    await sallyport.cli(['backup', 'restore', backup]);
    sallyport = await sallyport.restart();
    const { stderr: refused } = await cli(['--data', sallyport.data, 'integrity', 'accept']);
    const [, digest = ''] = /--digest ([0-9a-f]{64})/.exec(refused) ?? [];
    await sallyport.cli(['integrity', 'accept', '--yes', '--digest', digest]);
    const behind = await sallyport.cli(['hsm', 'rotate']);
    t.equal(behind.stdout, '2 data keys are rewrapped with sallyport-kek-4.\n');
    t.match(behind.stderr, /\nNo new KEK was made: [^\n]+Call it again for a new one\.\n$/);
    const { stdout, stderr } = await sallyport.cli(['hsm', 'rotate']);
    t.equal(stdout, '2 data keys are rewrapped with sallyport-kek-5.\n');
    t.notMatch(stderr, 'No new KEK');
  },
);
