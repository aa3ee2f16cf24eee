import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { PinWatch } from '../../src/supervisor/pin-watch.ts';
import { until } from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-pin-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'pin');

function watched() {
  writeFileSync(file, 'wrong');
  let changes = 0;
  const watch = new PinWatch(file, () => changes++);
  return { watch, changes: () => changes };
}

t.test('what was refused is not tried again, by whoever is started next', async (t) => {
  const { watch, changes } = watched();
  t.ok(watch.give('one'), 'a first time');
  t.ok(watch.give('two'));
  watch.problem('one', true);
  watch.forget('one');
  t.notOk(watch.give('three'));
  chmodSync(file, 0o400); // no other content
  await sleep(1_500);
  t.notOk(watch.give('four'));
  t.equal(changes(), 0);
});

for (const [how, correct] of [
  ['written', () => writeFileSync(file, 'right')],
  [
    'replaced',
    () => {
      writeFileSync(`${file}.new`, 'right');
      renameSync(`${file}.new`, file);
    },
  ],
] as const) {
  t.test(`a file that is ${how} anew is tried once it stays as it is`, async (t) => {
    const { watch, changes } = watched();
    for (const name of ['one', 'two']) watch.give(name);
    watch.problem('one', true);
    correct();
    watch.problem('one', true); // it is asked again, and says the same
    await until('it is noticed', 3_000, () => changes() === 1);
    t.same(watch.outdated(), ['one', 'two'], 'all are to be started again');
    for (const name of ['one', 'two']) watch.forget(name);
    t.ok(watch.give('three'));
    await sleep(1_500);
    t.equal(changes(), 1, 'once');
  });
}

t.test('a file that was written while a keyholder had it open is what that keyholder has read', async (t) => {
  const { watch, changes } = watched();
  for (const name of ['one', 'two']) watch.give(name);
  writeFileSync(file, 'wrong in another way');
  watch.problem('one', true);
  await sleep(1_500);
  t.equal(changes(), 0);
  t.notOk(watch.give('three'));
});

t.test('one that was replaced meanwhile is not what it has read', async (t) => {
  const { watch, changes } = watched();
  watch.give('one');
  writeFileSync(`${file}.new`, 'right');
  renameSync(`${file}.new`, file);
  watch.problem('one', true);
  t.ok(watch.give('two'));
  await until('it is noticed', 3_000, () => changes() === 1);
  t.same(watch.outdated(), ['one']);
});

t.test('one that is gone, or empty, is waited for', async (t) => {
  const { watch, changes } = watched();
  rmSync(file);
  watch.give('one');
  watch.problem('one', false);
  await sleep(700);
  t.equal(changes(), 0);
  writeFileSync(file, 'right');
  await until('it is noticed', 3_000, () => changes() === 1);
  t.ok(watch.give('two'));
});
