import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import t from 'tap';
import { countInMemory } from '../../support/process-memory.ts';

const module = (path: string) => JSON.stringify(new URL(`../../../src/proxy/${path}`, import.meta.url).href);

/**
 * What a worker does with a secret, 1,000 times over: put, leased, written, echoed whole and in pieces, dropped. The
 * secret comes masked, so that the process has it nowhere else. Written heads and returned pieces are wiped, as the
 * exchange wipes them.
 */
const WORKER = `
const { allocateSecret } = await import(${module('../secret-buffer.ts')});
const { Arena } = await import(${module('secrets/arena.ts')});
const { HotSecrets } = await import(${module('secrets/hot-secrets.ts')});
const { compileInjection } = await import(${module('injection/registry.ts')});
const { writeRequestHead } = await import(${module('injection/request-head.ts')});
const { Scrubber } = await import(${module('scrub/scrubber.ts')});
const { RequestReader } = await import(${module('http/request.ts')});
const masked = Buffer.from(process.argv[1], 'hex');
const fresh = () => {
  const value = allocateSecret(masked.length);
  for (let i = 0; i < masked.length; i++) value[i] = masked[i] ^ 0x5a;
  return value;
};
const rule = [
  { in: 'header', name: 'X-Key', value: '{token}' },
  { in: 'basic', username: 'me', password: '{token}' },
];
const reader = new RequestReader({ headBytes: 65536, headFields: 100, targetBytes: 8192 });
const bytes = Buffer.from('GET / HTTP/1.1\\r\\nHost: a\\r\\nX-Key: mine\\r\\n\\r\\n');
reader.read(bytes, 0);
const hot = new HotSecrets({ count: 10, maxAgeMs: 60000, arena: new Arena() });
let hits = 0;
for (let i = 0; i < 1000; i++) {
  const value = fresh();
  const lease = i % 10 ? hot.get('k') : hot.put('k', [{ name: 'token', secret: true, value }]);
  const { fields } = lease;
  const injection = compileInjection(rule);
  const encoded = injection.scrubTargets(fields);
  const scrubber = new Scrubber([fields.get('token').value, ...encoded], (_, count) => (hits += count));
  writeRequestHead({
    head: reader.head, target: Buffer.from('/'), injection, fields, identityOnly: true,
  }).bytes.fill(0);
  scrubber.scrubHead(value);
  const cut = 1 + (i % (masked.length - 1));
  const echo = fresh();
  const parts = [echo.subarray(0, cut), echo.subarray(cut)];
  for (const raw of parts) for (const piece of scrubber.feed(raw, [0, raw.length], raw === parts[1])) piece.fill(0);
  scrubber.feed(fresh(), [0, masked.length - 1], false);
  scrubber.destroy();
  for (const target of encoded) target.fill(0);
  lease.release();
}
process.stdout.write(String(hits) + '\\n');
process.stdin.once('data', () => { hot.clear(); process.stdout.write('cleared\\n'); });
`;

t.test(
  '1,000 requests leave one copy in the arena, and none after it',
  { skip: process.platform !== 'linux' },
  async (t) => {
    const secret = Buffer.concat([Buffer.from('marker-'), Buffer.from(randomBytes(16).toString('hex'))]);
    const masked = Buffer.from(secret.map((byte) => byte ^ 0x5a)).toString('hex');
    const child = spawn(process.execPath, ['--input-type=module', '-e', WORKER, masked], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const forms = [secret, Buffer.from(secret.toString('latin1'), 'utf16le')];
    const copies = () => countInMemory(child.pid ?? 0, forms).reduce((sum, count) => sum + count, 0);
    const [hits] = await once(child.stdout, 'data');
    t.equal(String(hits), '2000\n', 'found in each head and body');
    t.equal(copies(), 1);
    child.stdin.write('.');
    await once(child.stdout, 'data');
    t.equal(copies(), 0);
  },
);
