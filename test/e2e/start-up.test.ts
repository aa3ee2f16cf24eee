import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type CliOptions, cli, serveFolder, startSallyport } from '../support/sallyport.ts';
import { portOf } from '../support/tls-server.ts';

/* A start that fails says why in one line, ends with 1, and leaves everything as it found it. */
t.setTimeout(180_000);
const ROOT = process.getuid?.() === 0;
const NOBODY = 60_899;
const FREE = ['--proxy-listen', '127.0.0.1:0', '--api-listen', '127.0.0.1:0'];
const folder = mkdtempSync(join(tmpdir(), 'sallyport-start-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const first = await startSallyport({ flags: ['--workers', '1'] });
t.teardown(() => first.remove());
const { data, pinFile } = first;
await first.json(['agent', 'add', 'bot']);
await first.cli(['credential', 'set', 'openai', '--agent', 'bot'], { stdin: 'sk-secret' });
const other = join(folder, 'other');
t.equal((await cli(['init', '--data', other])).code, 0);
const settings = join(data, 'sallyport.json');
const written = readFileSync(settings, 'utf8');

interface Failure {
  readonly what: string;
  readonly code: string | RegExp;
  readonly flags?: readonly string[];
  readonly options?: CliOptions;
  /** Makes it fail; answers how to undo that. */
  readonly prepare?: () => () => void;
  readonly data?: string;
}

function moved(path: string): () => void {
  renameSync(path, `${path}.away`);
  return () => renameSync(`${path}.away`, path);
}

/** What stands in the place of what was moved away belongs to the same user. */
function likeBefore(path: string): void {
  const { uid, gid } = lstatSync(`${path}.away`);
  chownSync(path, uid, gid);
}

function belongsTo(path: string, { uid, gid }: { uid: number; gid: number }): void {
  for (const name of ['', ...readdirSync(path, { recursive: true, encoding: 'utf8' })])
    chownSync(join(path, name), uid, gid);
}

function emptied(path: string): () => void {
  const undo = moved(path);
  mkdirSync(path, { mode: 0o700 });
  likeBefore(path);
  return () => {
    rmSync(path, { recursive: true });
    undo();
  };
}

function opened(path: string, mode: number): () => void {
  const before = lstatSync(path).mode;
  chmodSync(path, mode);
  return () => chmodSync(path, before);
}

function rewritten(text: string): () => void {
  writeFileSync(settings, text);
  return () => writeFileSync(settings, written);
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const database = join(data, 'vault', 'sallyport.db');
const FAILURES: Failure[] = [
  { what: 'a wrong PIN', flags: ['--pin-file', file('wrong', '123456\n')], code: 'hsm_pin_wrong' },
  { what: 'an empty PIN', flags: ['--pin-file', file('empty', '')], code: 'hsm_pin_missing' },
  {
    what: 'a PIN file that is not there',
    flags: ['--pin-file', join(folder, 'no')],
    code: 'hsm_pin_missing',
  },
  {
    what: 'a module that is not there',
    prepare: () =>
      rewritten(written.replace(/"pkcs11Module": "[^"]*"/, '"pkcs11Module": "/nowhere/module.so"')),
    code: 'hsm_module_missing',
  },
  {
    what: 'a module that is no library',
    prepare: () =>
      rewritten(
        written.replace(/"pkcs11Module": "[^"]*"/, `"pkcs11Module": "${file('module.so', 'no library')}"`),
      ),
    code: 'hsm_module_missing',
  },
  {
    what: 'a token that is not there',
    prepare: () => emptied(join(data, 'token', 'tokens')),
    code: 'hsm_token_missing',
  },
  {
    what: 'a token of another name',
    prepare: () => rewritten(written.replace(/"pkcs11Token": "[^"]*"/, '"pkcs11Token": "another"')),
    code: 'hsm_token_missing',
  },
  {
    what: 'the token of another installation, which carries its label and has a PIN of its own',
    prepare: () => {
      const undo = moved(join(data, 'token', 'tokens'));
      cpSync(join(other, 'token', 'tokens'), join(data, 'token', 'tokens'), { recursive: true });
      belongsTo(join(data, 'token', 'tokens'), lstatSync(join(data, 'token')));
      return () => {
        rmSync(join(data, 'token', 'tokens'), { recursive: true });
        undo();
      };
    },
    code: 'hsm_token_wrong',
  },
  { what: 'no folder for the token', prepare: () => moved(join(data, 'token')), code: 'data_folder_unsafe' },
  { what: 'no database', prepare: () => moved(database), code: 'store_unavailable' },
  {
    what: 'a database that is none',
    prepare: () => {
      const undo = moved(database);
      writeFileSync(database, 'not a database, but long enough to be taken for one'.repeat(100), {
        mode: 0o600,
      });
      likeBefore(database);
      return () => {
        rmSync(database);
        undo();
      };
    },
    code: 'store_unavailable',
  },
  { what: 'no data folder', data: join(folder, 'nowhere'), code: 'data_folder_missing' },
  { what: 'settings that are none', prepare: () => rewritten('{'), code: 'invalid_settings' },
  {
    what: 'a data folder that is a symbolic link',
    data: join(folder, 'link'),
    prepare: () => {
      symlinkSync(data, join(folder, 'link'));
      return () => rmSync(join(folder, 'link'));
    },
    code: 'data_folder_unsafe',
  },
  { what: 'a data folder open to others', prepare: () => opened(data, 0o750), code: 'data_folder_unsafe' },
  {
    what: 'a token folder open to others',
    prepare: () => opened(join(data, 'token'), 0o701),
    code: 'data_folder_unsafe',
  },
  ...(ROOT
    ? [
        {
          what: "somebody else's data folder",
          prepare: () => {
            chownSync(data, NOBODY, NOBODY);
            return () => chownSync(data, 0, 0);
          },
          code: 'data_folder_unsafe',
        },
        { what: 'a data folder that cannot be read', options: { uid: NOBODY }, code: /^data_folder_/ },
      ]
    : []),
  { what: 'no workers', flags: ['--workers', '0'], code: 'invalid_settings' },
  {
    what: 'an upstream CA that is not there',
    flags: ['--upstream-ca', join(folder, 'no')],
    code: 'invalid_settings',
  },
  { what: 'a configuration that is none', flags: ['--config', file('conf', '[]')], code: 'invalid_settings' },
  { what: 'a way to isolate that is none', flags: ['--isolation', 'hope'], code: /^invalid_/ },
];

t.test('the very first one', async (t) => {
  const fresh = join(folder, 'fresh');
  t.equal((await cli(['init', '--data', fresh])).code, 0);
  const wrong = file('wrong-too', '123456\n');
  const before = fingerprint(fresh, /\/token\.object$/);
  const result = await serve({ what: '', code: '', data: fresh, flags: ['--pin-file', wrong] });
  t.match(result, { code: 3, stdout: '', stderr: line('hsm_pin_wrong') });
  t.same(fingerprint(fresh, /\/token\.object$/), before, 'nothing was changed');
});

t.test('a second one on the same folder', async (t) => {
  const names = (): string[] => readdirSync(data, { recursive: true, encoding: 'utf8' }).sort();
  const before = names();
  const result = await serve({ what: '', code: '' });
  t.match(result, { code: 1, stdout: '', stderr: line('already_running') });
  t.same(names(), before, 'nothing was added or taken away');
  t.match(await first.json(['status']), { integrity: { state: 'ok' } }, 'and the first serves on');
});

t.test('once it has ended', async (t) => {
  t.equal(await first.stop(), 0);
  for (const failure of FAILURES) {
    const undo = failure.prepare?.();
    const unlike = failure.code === 'hsm_pin_wrong' ? /\/token\.object$/ : undefined; // it notes a wrong PIN itself
    const before = fingerprint(data, unlike);
    const result = await serve(failure);
    const exit = failure.code === 'hsm_pin_wrong' ? 3 : 1;
    t.match(result, { code: exit, signal: null, stdout: '', stderr: line(failure.code) }, failure.what);
    t.same(fingerprint(data, unlike), before, `${failure.what}: nothing was changed`);
    undo?.();
  }
});

for (const name of ['proxy', 'api']) {
  t.test(`a port in use: the ${name}'s`, async (t) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    const before = fingerprint(data);
    const result = await serve({
      what: '',
      code: '',
      flags: [`--${name}-listen`, `127.0.0.1:${portOf(server)}`],
    });
    t.match(result, { code: 1, stdout: '', stderr: line('address_in_use') });
    t.same(fingerprint(data), before, 'nothing was changed');
  });
}

t.test('and then it starts as if nothing had been', async (t) => {
  const again = await serveFolder(data, pinFile, { flags: ['--workers', '1'] });
  t.teardown(() => again.stop());
  t.match(await again.json(['status']), { integrity: { state: 'ok' }, hsm: { state: 'ok' } });
  t.match(await again.json(['credential', 'list']), [{ service: 'openai', agents: ['bot'] }]);
  t.match(await again.json(['audit', 'verify']), { intact: true });
});

function serve({ flags = [], options = {}, data: other = data }: Failure) {
  return cli(['--data', other, 'serve', ...FREE, ...flags], options);
}

function line(code: string | RegExp): RegExp {
  const inside = typeof code === 'string' ? code : code.source.replace(/^\^/, '');
  return new RegExp(`^sallyport: [^\\n]+ \\[${inside}\\w*\\]\\n$`);
}

/** Everything that is in the folder: names, kinds, modes, owners and contents. */
function fingerprint(path: string, unlike?: RegExp): Record<string, string> {
  const entries: Record<string, string> = {};
  for (const name of ['', ...readdirSync(path, { recursive: true, encoding: 'utf8' })].sort()) {
    if (unlike?.test(name)) continue;
    const info = lstatSync(join(path, name));
    const content = info.isFile()
      ? createHash('sha256')
          .update(readFileSync(join(path, name)))
          .digest('hex')
      : '';
    entries[name] = `${info.mode.toString(8)} ${info.uid}:${info.gid} ${content}`;
  }
  return entries;
}
