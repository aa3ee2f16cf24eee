import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { chainStart, linkHash } from '../../src/audit/chain.ts';
import { journalFileName } from '../../src/audit/files.ts';
import { previousJournal } from '../../src/supervisor/previous-journal.ts';
import { until } from '../support/processes.ts';
import { cli, startSallyport } from '../support/sallyport.ts';

t.setTimeout(120_000);

/** Empty once the process has ended. */
function commandLine(pid: number | undefined): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

t.test('the newest journal that a vault wrote into is found, and its end', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-journals-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  t.equal(await previousJournal(folder), null);
  const at = (minute: number, name: string) =>
    journalFileName(new Date(Date.UTC(2026, 10, 24, 1, minute)), name);
  const vault = at(1, 'vault-1');
  const batch = '{"some":"record"}\n';
  const hash = linkHash(chainStart(vault).hash, Buffer.from(batch));
  writeFileSync(join(folder, vault), `${batch}{"link":1,"hash":"${hash}"}\n`);
  writeFileSync(join(folder, at(2, 'worker-1-1')), '');
  writeFileSync(join(folder, at(3, 'vault-2')), '');
  t.same(await previousJournal(folder), { file: vault, link: 1, hash }, 'one that is empty says nothing');

  const writer = spawn(process.execPath, [
    '-e',
    'setTimeout(() => {}, 800)',
    '--',
    '--journal',
    at(3, 'vault-2'),
  ]);
  t.match(commandLine(writer.pid), 'vault-2');
  await previousJournal(folder);
  t.equal(commandLine(writer.pid), '', 'who writes it still is waited for');
});

t.test('a tail cut off the last run’s journal is found by the next', async (t) => {
  let sallyport = await startSallyport({ flags: ['--workers', '1'] });
  t.teardown(async () => sallyport.remove());
  await sallyport.cli(['agent', 'add', 'bot']);
  await sallyport.stop('SIGKILL'); // no checkpoint covers its end
  sallyport = await sallyport.restart();
  const folder = join(sallyport.data, 'journal');
  const [first = '', second = ''] = readdirSync(folder)
    .filter((name) => name.includes('-vault-'))
    .sort();
  await until('its end is recorded', 5_000, () =>
    readFileSync(join(folder, second), 'latin1').includes(first),
  );
  t.match(await sallyport.json(['audit', 'verify']), { problems: [] });
  await sallyport.stop();
  const lines = readFileSync(join(folder, first), 'latin1').split('\n');
  const links = lines.flatMap((line, index) => (line.startsWith('{"link"') ? [index] : []));
  writeFileSync(join(folder, first), `${lines.slice(0, (links.at(-2) ?? 0) + 1).join('\n')}\n`);
  const verified = await cli(['--json', '--data', sallyport.data, 'audit', 'verify']);
  t.match(verified.json(), { problems: [{ file: first, kind: 'truncated' }] });
});
