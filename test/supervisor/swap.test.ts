import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { swapInTheClear } from '../../src/supervisor/swap.ts';

const HEAD = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
const line = (device: string): string =>
  `${device}                               partition\t999420\t\t0\t\t-2\n`;

/** Files as the kernel writes them (proc(5), Documentation/admin-guide/cgroup-v2.rst), below a folder. */
function told(t: Test, files: Record<string, string>): string | undefined {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-swap-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return swapInTheClear(root);
}

t.test('swap in the clear is told, with what to do', async (t) => {
  const sentence = told(t, {
    'proc/swaps': HEAD + line('/dev/sda2') + line('/dev/zram0') + line('/swapfile'),
  });
  t.match(sentence, /^memory may be swapped to \/dev\/sda2, \/swapfile, [^\n]+MemorySwapMax=0/);
  const plain = { 'proc/swaps': HEAD + line('/dev/dm-1'), 'sys/block/dm-1/dm/uuid': 'LVM-x1\n' };
  t.match(told(t, plain), /swapped to \/dev\/dm-1,/, 'a volume that is not encrypted');
  const cgroup = {
    'proc/self/cgroup': '0::/a.slice/b.service\n',
    'sys/fs/cgroup/a.slice/memory.swap.max': 'max\n',
  };
  t.match(told(t, { ...plain, ...cgroup }), /swapped/, 'a control group that allows it');
});

t.test('where none is, or it is safe, nothing is said', async (t) => {
  t.equal(told(t, {}), undefined);
  t.equal(told(t, { 'proc/swaps': HEAD }), undefined);
  t.equal(told(t, { 'proc/swaps': HEAD + line('/dev/zram0') }), undefined, 'it is in memory');
  const crypt = { 'proc/swaps': HEAD + line('/dev/dm-1'), 'sys/block/dm-1/dm/uuid': 'CRYPT-PLAIN-swap\n' };
  t.equal(told(t, crypt), undefined, 'it is encrypted');
  for (const group of ['a.slice', 'a.slice/b.service']) {
    const files = {
      'proc/swaps': HEAD + line('/dev/sda2'),
      'proc/self/cgroup': '0::/a.slice/b.service\n',
      [`sys/fs/cgroup/${group}/memory.swap.max`]: '0\n',
    };
    t.equal(told(t, files), undefined, `${group} does without`);
  }
});
