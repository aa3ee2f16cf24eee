import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { Arena, type Slot } from '../../../src/proxy/secrets/arena.ts';

const arenaModule = new URL('../../../src/proxy/secrets/arena.ts', import.meta.url).href;

t.test('copies in, and wipes what is freed', async (t) => {
  const arena = new Arena(4096);
  const original = Buffer.from('correct horse');
  const slot = arena.allocate(original);
  original.fill(0);
  t.equal(slot.bytes.toString(), 'correct horse');
  t.equal(arena.used, 16);
  arena.free(slot);
  t.same(slot.bytes, Buffer.alloc(13));
  t.equal(arena.used, 0);
  t.throws(() => arena.free(slot), /freed twice/);
});

t.test('refuses what does not fit, and says so beforehand', async (t) => {
  const arena = new Arena(64);
  t.ok(arena.fits(64));
  t.notOk(arena.fits(65));
  arena.allocate(Buffer.alloc(17));
  t.notOk(arena.fits(33));
  t.throws(() => arena.allocate(Buffer.alloc(33)), { code: 'internal' });
  arena.allocate(Buffer.alloc(32));
  t.notOk(arena.fits(0));
});

t.test(
  'its memory is locked and left out of core dumps',
  { skip: process.platform !== 'linux' },
  async (t) => {
    const dumpable = () =>
      readFileSync('/proc/self/smaps', 'utf8').match(/^VmFlags:(?=.* lo\b)(?=.* dd\b)/gm)?.length ?? 0;
    const before = dumpable();
    const arena = new Arena(1024 * 1024);
    t.ok(arena.locked);
    t.equal(dumpable(), before + 1);
    t.equal(arena.used, 0);
  },
);

t.test('says when the system does not let it lock', { skip: process.platform !== 'linux' }, async (t) => {
  const script = `import(${JSON.stringify(arenaModule)}).then(({ Arena }) => console.log(new Arena().locked))`;
  const command = `ulimit -l 64; exec "$@"`;
  // Root may lock without limit: without that capability it is anybody.
  const asAnybody =
    process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock'] : [];
  const words = [...asAnybody, process.execPath, '-e', script];
  const { stdout } = await promisify(execFile)('sh', ['-c', command, 'sh', ...words]);
  t.equal(stdout, 'false\n');
});

t.test(
  'whatever is allocated and freed: slots never overlap, bytes stay, and all of it can be had again',
  async () => {
    const arena = new Arena(1024);
    const step = fc.oneof(
      fc.record({ size: fc.integer({ min: 0, max: 300 }) }),
      fc.record({ free: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const live: { slot: Slot; mark: number }[] = [];
        for (const [index, each] of steps.entries()) {
          if ('size' in each) {
            if (!arena.fits(each.size)) continue;
            const mark = (index % 255) + 1;
            const slot = arena.allocate(Buffer.alloc(each.size, mark));
            if (slot.bytes.length !== each.size) throw new Error('wrong size');
            live.push({ slot, mark });
          } else if (live.length > 0) {
            const [gone] = live.splice(each.free % live.length, 1);
            if (gone) arena.free(gone.slot);
            if (gone?.slot.bytes.some((byte) => byte !== 0)) throw new Error('not wiped');
          }
          for (const { slot, mark } of live) {
            if (slot.bytes.some((byte) => byte !== mark)) throw new Error('a live slot changed');
          }
        }
        for (const { slot } of live) arena.free(slot);
        if (!arena.fits(1024) || arena.used !== 0) throw new Error('the arena has come apart');
      }),
      { numRuns: 2000 },
    );
  },
);
