import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { BIN, cli } from '../support/sallyport.ts';

/*
 * What a child holds is what ARCHITECTURE.md lists, whatever was open in the shell that started serve: 0 its file, 1 and
 * 2 stderr, 3 the channel, 4 its data folder, 5 the program's folder, 6 its Node. Beyond those only what it opens itself.
 */
t.setTimeout(120_000);
const folder = mkdtempSync(join(tmpdir(), 'sallyport-inherited-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const data = join(folder, 'data');
const pinFile = join(folder, 'pin');
t.equal((await cli(['init', '--data', data, '--pin-file', pinFile])).code, 0);
const Status = z.object({ processes: z.array(z.object({ kind: z.string(), pid: z.number() })) });

/** What a process has open: the number, and the file or kind of thing. */
function descriptors(pid: number): Map<number, string> {
  const open = new Map<number, string>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      open.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`).replace(/^(\w+):\[\d+\]$/, '$1'));
    } catch {} // closed meanwhile
  }
  return open;
}

const GIVEN = new Map<string, Record<number, RegExp>>([
  ['keyholder', { 0: /\/pin$/, 3: /^socket$/, 4: /\/data\/token$/ }],
  ['vault', { 0: /\/data\/journal\/[^/]+-vault-\d+\.ndjson$/, 3: /^socket$/, 4: /\/data\/vault$/ }],
  ['worker', { 0: /\/data\/journal\/[^/]+-worker-1-\d+\.ndjson$/, 3: /^socket$/ }],
]);
/** What Node opens for itself, and the vault its database, the keyholder's module a source of random numbers. */
const OWN: Record<string, RegExp> = {
  keyholder: /^(anon_inode:.*|pipe|\/dev\/u?random|\/dev\/null|.*\/data\/token\/.*)$/,
  vault: /^(anon_inode:.*|pipe|socket|\/dev\/u?random|\/dev\/null|.*\/sallyport\.db(-wal|-shm)?)$/,
  worker: /^(anon_inode:.*|pipe|socket|\/dev\/u?random|\/dev\/null)$/,
};
const isolations = process.getuid?.() === 0 ? ['uid', 'copy'] : ['copy'];

for (const isolation of isolations) {
  t.test(`isolated by ${isolation}`, async (t) => {
    const left = join(folder, `left-${isolation}`);
    writeFileSync(left, 'for the shell alone');
    const opened = openSync(left, 'r');
    const flags = ['--workers', '1', '--isolation', isolation, '--pin-file', pinFile];
    const ports = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
    const serve = [BIN, 'serve', '--json', '--data', data, ...flags, ...ports];
    const many = Array.from({ length: 40 }, (_, index) => (index % 4 === 1 ? opened : ('ignore' as const)));
    // `env -i` without what tap adds to every Node.
    const child = spawn('/usr/bin/env', ['-i', `PATH=${process.env.PATH}`, process.execPath, ...serve], {
      stdio: ['ignore', 'pipe', 'inherit', ...many],
      cwd: '/',
    });
    closeSync(opened);
    t.teardown(() => child.kill('SIGKILL'));
    const stdout = child.stdout;
    if (!stdout) throw new Error('no output');
    await Promise.race([once(stdout, 'data'), once(child, 'exit')]);
    const status = Status.parse((await cli(['status', '--json', '--data', data])).json());
    for (const { kind, pid } of status.processes) {
      const open = descriptors(pid);
      t.notOk([...open.values()].includes(left), `${kind} does not hold what the shell had open`);
      if (kind === 'supervisor') continue;
      const given = { 5: /./, ...(isolation === 'uid' && { 6: /\/data\/run\/node$/ }), ...GIVEN.get(kind) };
      for (const [number, what] of Object.entries(given))
        t.match(open.get(Number(number)), what, `${kind}: ${number}`);
      for (const number of [1, 2])
        t.equal(open.get(number), readlinkSync(`/proc/self/fd/2`).replace(/^(\w+):\[\d+\]$/, '$1'), kind);
      const further = [...open].filter(([number]) => number > 2 && !(number in given));
      for (const [number, what] of further) t.match(what, OWN[kind], `${kind}: ${number}`);
    }
    child.kill('SIGTERM');
    t.same(await once(child, 'exit'), [0, null]);
  });
}
