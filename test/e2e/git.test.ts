import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { GIT, SECRET, startClientScene } from '../support/client-scene.ts';
import { installed } from '../support/client-tools.ts';
import { run } from '../support/curl.ts';

t.setTimeout(150_000);
/** Cannot be compressed: a packfile is as large. */
const SIZE = 24_000_000;
const AUTHOR = ['-c', 'user.name=bot', '-c', 'user.email=bot@example.test', '-c', 'init.defaultBranch=main'];
const CREDENTIAL = `Basic ${Buffer.from(`someone:${SECRET}`).toString('base64')}`;

t.test(
  'git clones and pushes tens of MB over https',
  { skip: !installed('git') && 'git is not installed' },
  async (t) => {
    const scene = await startClientScene();
    t.teardown(scene.remove);
    const git = async (...args: string[]): Promise<void> => {
      const { code, stderr } = await run('git', [...AUTHOR, ...args]);
      if (code !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
    };
    const repository = join(scene.repositories, 'large.git');
    await git('init', '--quiet', '--bare', repository);
    await git('-C', repository, 'config', 'http.receivepack', 'true');
    const first = join(scene.folder, 'first');
    mkdirSync(first);
    const content = randomBytes(SIZE);
    writeFileSync(join(first, 'large.bin'), content);
    await git('init', '--quiet', first);
    await git('-C', first, 'add', '.');
    await git('-C', first, 'commit', '--quiet', '--message', 'A large file');

    const push = await scene.run([
      'git',
      '-C',
      first,
      'push',
      '--quiet',
      `${GIT}/large.git`,
      'HEAD:refs/heads/main',
    ]);
    t.match(push, { code: 0 }, `push: ${push.stderr}`);
    const second = join(scene.folder, 'second');
    const clone = await scene.run(['git', 'clone', '--quiet', `${GIT}/large.git`, second]);
    t.match(clone, { code: 0 }, `clone: ${clone.stderr}`);
    t.ok(readFileSync(join(second, 'large.bin')).equals(content), 'what was pushed is what is cloned');

    const asked = scene.server.seen.map(({ what }) => what);
    for (const what of ['POST /git/large.git/git-receive-pack', 'POST /git/large.git/git-upload-pack']) {
      t.ok(asked.includes(what), what);
    }
    t.same(new Set(scene.server.seen.map(({ credential }) => credential)), new Set([CREDENTIAL]));
    t.notMatch(push.stderr + clone.stderr, SECRET);
  },
);
