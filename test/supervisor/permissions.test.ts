import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type CliResult, cli } from '../support/sallyport.ts';

/*
 * What another user could read or change is refused at the start, each time with what to do; what is merely odd is told.
 * serve is asked to listen where it cannot, so that one that refuses nothing ends there: with address_in_use.
 */
t.setTimeout(180_000);
const ROOT = process.getuid?.() === 0;
const STRANGER = 60_898;
const folder = mkdtempSync(join(tmpdir(), 'sallyport-permissions-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const parent = join(folder, 'parent');
mkdirSync(parent, { mode: 0o755 });
const data = join(parent, 'data');
const pinFile = join(folder, 'pin');
t.equal((await cli(['init', '--data', data, '--pin-file', pinFile])).code, 0);

const STOPPED = /^sallyport: [^\n]+ \[address_in_use\]\n$/m;
/** An address of no interface here: the check of the listeners comes after that of the permissions. */
const NOWHERE = ['--proxy-listen', '192.0.2.1:7080', '--api-listen', '127.0.0.1:0'];
const serve = (at = data, pin = pinFile): Promise<CliResult> =>
  cli(['serve', '--data', at, '--pin-file', pin, ...NOWHERE]);

/** With `path` changed by `change`, which is undone. */
async function changed(path: string, change: () => void): Promise<CliResult> {
  const { mode, uid, gid } = lstatSync(path);
  change();
  try {
    return await serve();
  } finally {
    chownSync(path, uid, gid);
    chmodSync(path, mode & 0o7777);
  }
}

t.test('what init made is fit, and nothing is said of it', async (t) => {
  t.match(await serve(), { code: 1, stdout: '', stderr: /^sallyport: [^\n]+ \[address_in_use\]\n$/ });
});

t.test('files and folders that others could read or write', async (t) => {
  for (const [name, mode, fit, shielded] of [
    ['vault', 0o755, '700', false],
    ['token', 0o710, '700', false],
    ['journal', 0o770, '700', false],
    ['ca', 0o777, '700', true],
    ['token/tokens', 0o755, '700', true],
    ['token/softhsm2.conf', 0o644, '600', true],
    ['vault/sallyport.db', 0o666, '600', true],
    ['sallyport.json', 0o644, '600', true],
  ] as const) {
    const path = join(data, name);
    const { code, stderr } = await changed(path, () => chmodSync(path, mode));
    t.equal(code, 1, name);
    const told = `^sallyport: [^\\n]+ ${name} that is open to other users: run \`chmod ${fit} ${path}\``;
    const end = shielded ? '\\n[^\\n]+ \\[address_in_use\\]' : '[^\\n]* \\[data_folder_unsafe\\]';
    t.match(stderr, new RegExp(`${told}${end}\\n$`), name);
  }
  const database = join(data, 'vault', 'sallyport.db');
  renameSync(database, `${database}.moved`);
  symlinkSync(`${database}.moved`, database);
  t.match(await serve(), {
    code: 1,
    stderr: /or it is not a file: put it back[^\n]+ \[data_folder_unsafe\]\n$/,
  });
  rmSync(database);
  renameSync(`${database}.moved`, database);
});

t.test(
  'what belongs to somebody else is not taken over',
  { skip: !ROOT && 'only root can give it' },
  async (t) => {
    for (const name of ['vault', 'token', 'journal', 'vault/sallyport.db', 'sallyport.json']) {
      const path = join(data, name);
      const { code, stderr } = await changed(path, () => chownSync(path, STRANGER, STRANGER));
      t.equal(code, 1, name);
      t.match(
        stderr,
        new RegExp(
          ` ${name} that belongs to user ${STRANGER}: .*run \`chown -R 0 ${path}\`.*\\[data_folder_unsafe\\]\\n$`,
        ),
      );
    }
  },
);

t.test('a PIN that others could read, or that a copy of the data folder would hold', async (t) => {
  for (const mode of [0o602, 0o666]) {
    t.match(
      await changed(pinFile, () => chmodSync(pinFile, mode)),
      {
        code: 1,
        stderr:
          /^sallyport: [^\n]+may be exchanged by everybody: run `chmod 400 [^\n]+ \[hsm_pin_unsafe\]\n$/,
      },
      mode.toString(8),
    );
  }
  for (const mode of [0o444, 0o604, 0o644]) {
    t.match(await changed(pinFile, () => chmodSync(pinFile, mode)), {
      stderr:
        /^sallyport: everybody may read the PIN file [^\n]+: run `chmod 400 [^\n]+\n[^\n]+\[address_in_use\]\n$/,
    });
  }
  t.match(await changed(pinFile, () => chmodSync(pinFile, 0o440)), {
    stderr:
      /^sallyport: group \d+ may use the PIN file [^\n]+: run `chmod 400 [^\n]+\n[^\n]+\[address_in_use\]\n$/,
  });
  const inside = join(data, 'pin');
  writeFileSync(inside, readFileSync(pinFile), { mode: 0o400 });
  const link = join(folder, 'link-to-pin');
  symlinkSync(inside, link);
  for (const path of [inside, link]) {
    t.match(await serve(data, path), {
      code: 1,
      stderr: /lies in the data folder[^\n]+ \[hsm_pin_unsafe\]\n$/,
    });
  }
  rmSync(inside);
  if (!ROOT) return;
  t.match(await changed(pinFile, () => chownSync(pinFile, STRANGER, 0)), {
    stderr: new RegExp(`^sallyport: user ${STRANGER} owns the PIN file [^\\n]+: run \`chown 0 `),
  });
});

t.test('folders above, in which others could exchange it', async (t) => {
  t.match(await changed(parent, () => chmodSync(parent, 0o777)), {
    code: 1,
    stderr: new RegExp(
      `^sallyport: Everybody may write in ${parent}, [^\\n]+\`chmod o-w ${parent}\`[^\\n]+ \\[data_folder_unsafe\\]\\n$`,
    ),
  });
  t.match(await changed(parent, () => chmodSync(parent, 0o1777)), { stderr: STOPPED }, 'sticky, as /tmp is');
  t.match(await changed(parent, () => chmodSync(parent, 0o775)), {
    stderr: new RegExp(
      `^sallyport: group \\d+ may write in ${parent}, [^\\n]+\`chmod g-w ${parent}\`\\n[^\\n]+address_in_use`,
    ),
  });
  const open = join(folder, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  symlinkSync(parent, join(open, 'link'));
  t.match(await serve(join(open, 'link', 'data')), {
    code: 1,
    stderr: /Everybody may write in [^\n]*\/open, /,
  });
  if (!ROOT) return;
  t.match(await changed(parent, () => chownSync(parent, STRANGER, 0)), {
    stderr: new RegExp(`^sallyport: user ${STRANGER} owns ${parent}, [^\\n]+\\n[^\\n]+address_in_use`),
  });
});
