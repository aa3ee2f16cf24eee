import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { CapturedWorker } from '../support/captured-worker.ts';
import type { Sallyport } from '../support/sallyport.ts';

/** One of our processes that the captured one is not: another worker too. */
export interface Target {
  readonly kind: string;
  readonly name: string;
  readonly pid: number;
  readonly uid: number;
}

/** Without capabilities, groups, environment and core dumps, and with no descriptor that it does not need. */
export async function identity(t: Test, worker: CapturedWorker, isolation: string): Promise<void> {
  const read = async (path: string): Promise<string> => {
    const outcome = await worker.run(
      async (path) => (await import('node:fs')).readFileSync(path, 'latin1'),
      path,
    );
    return 'value' in outcome ? String(outcome.value) : '';
  };
  const status = await read('/proc/self/status');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
    t.match(status, new RegExp(`^${set}:\\s0+$`, 'm'));
  t.match(status, /^NoNewPrivs:\s1$/m);
  t.match(status, /^Groups:\s*(\d*\s*)$/m);
  const environment = await worker.run(() => Object.entries(process.env).filter(([name]) => name !== 'PWD'));
  t.same(environment, { value: [['GLIBC_TUNABLES', 'glibc.malloc.perturb=90']] });
  t.match(await read('/proc/self/limits'), /^Max core file size\s+0\s+0/m);
  const descriptors = await worker.run(async () => {
    const fs = await import('node:fs');
    const open = [...Array(64).keys()].filter((fd) => fs.existsSync(`/proc/self/fd/${fd}`));
    return {
      folders: open.filter((fd) => fs.fstatSync(fd).isDirectory()),
      journal: fs.readlinkSync('/proc/self/fd/0'),
    };
  });
  // Where it has a view of its own, a folder's descriptor would lead out of it.
  const folders = isolation === 'bubblewrap' ? [] : [5];
  t.match(descriptors, { value: { folders, journal: /worker-\d-1\.ndjson$/ } });
  t.match(await worker.run(() => process.setuid?.(0)), { code: /^(EPERM|EINVAL)$/ });
}

/** The database, the token, the PIN and the rest, by every way to them. */
export async function files(
  t: Test,
  worker: CapturedWorker,
  sallyport: Sallyport,
  others: readonly Target[],
): Promise<void> {
  const { data, pinFile } = sallyport;
  const inside = readdirSync(data, { recursive: true, encoding: 'utf8' }).map((name) => join(data, name));
  t.ok(inside.length > 20, 'database, token, journals');
  const ways = others.flatMap(({ pid }) =>
    ['root', 'cwd', 'fd/0', 'fd/4', 'fd/4/sallyport.db'].map((way) => `/proc/${pid}/${way}`),
  );
  // A folder's descriptor leads out of any view of the files, but for permissions.
  const up = '/..'.repeat(16);
  const around = [0, 4, 5].flatMap((fd) =>
    [pinFile, data, ...inside].map((path) => `/proc/self/fd/${fd}${up}${path}`),
  );
  const paths = [
    pinFile,
    data,
    ...inside,
    ...ways,
    ...around,
    '/mnt/sallyport.db',
    '/proc/self/fd/4/sallyport.db',
  ];
  for (const path of paths) {
    const opened = await worker.run(async (path) => {
      const fs = await import('node:fs');
      const done: string[] = [];
      const attempts = {
        read: () => fs.openSync(path, 'r'),
        write: () => fs.openSync(path, 'r+'),
        append: () => fs.openSync(path, 'a'),
        list: () => fs.readdirSync(path),
        rename: () => fs.renameSync(path, `${path}.moved`),
        remove: () => fs.unlinkSync(path),
        chmod: () => fs.chmodSync(path, 0o777),
        link: () => fs.linkSync(path, `/tmp/link-${Math.random()}`),
      };
      for (const [name, attempt] of Object.entries(attempts)) {
        try {
          attempt();
          done.push(name);
        } catch {}
      }
      return done;
    }, path);
    t.same(opened, { value: [] }, path);
  }
  const own = await worker.run(async () => {
    const fs = await import('node:fs');
    return fs.readSync(0, Buffer.alloc(1), 0, 1, 0);
  });
  t.match(own, { code: 'EBADF' }, 'it cannot even read what it has written to its own journal');
}

/** The control socket, the rendezvous, and the ports of the others. */
export async function sockets(t: Test, worker: CapturedWorker, { data, api }: Sallyport): Promise<void> {
  const connect = (path: string) =>
    worker.run(async (path) => {
      const net = await import('node:net');
      return new Promise((resolve, reject) => {
        const socket = net.connect(path, () => resolve('connected'));
        socket.once('error', reject);
      });
    }, path);
  for (const name of ['control.sock', 'rendezvous.sock']) {
    t.match(await connect(join(data, 'vault', name)), { code: /^(EACCES|ENOENT)$/ }, name);
  }
  const port = Number(new URL(api).port);
  const squatted = await worker.run(async (port) => {
    const net = await import('node:net');
    return new Promise((resolve, reject) => {
      const server = net
        .createServer()
        .listen({ host: '127.0.0.1', port, reusePort: true }, () => resolve('listens'));
      server.once('error', reject);
    });
  }, port);
  t.match(squatted, { code: 'EADDRINUSE' }, "the API's port is the vault's alone");
}

/** Signals to the others, and whether they are seen at all. */
export async function processes(
  t: Test,
  worker: CapturedWorker,
  others: readonly Target[],
  isolation: string,
): Promise<void> {
  // Workers share a port, for which they must be one user: one could end another, which is then started again.
  for (const { pid, kind } of others.filter((each) => each.kind !== 'worker' || isolation === 'bubblewrap')) {
    for (const signal of ['SIGUSR1', 'SIGSTOP', 'SIGTERM', 'SIGKILL'] as const) {
      const outcome = await worker.run((pid, signal) => process.kill(pid, signal), pid, signal);
      t.match(outcome, { code: /^(EPERM|ESRCH)$/ }, `${kind}: ${signal}`);
    }
    const slowed = await worker.run(async (pid) => (await import('node:os')).setPriority(pid, 19), pid);
    t.match(slowed, { code: 'ERR_SYSTEM_ERROR' }, `${kind}: its priority`);
  }
  const seen = await worker.run(
    async () => (await import('node:fs')).readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length,
  );
  if (isolation === 'bubblewrap') t.same(seen, { value: 1 }, 'it sees no other process');
}

/** Their memory, environment and descriptors, by reading and by tracing. */
export async function memory(
  t: Test,
  worker: CapturedWorker,
  attack: string,
  others: readonly Target[],
): Promise<void> {
  for (const { pid, kind } of others) {
    for (const name of ['mem', 'environ', 'maps', 'auxv', 'fd', 'fd/3', 'stack', 'syscall', 'pagemap']) {
      const outcome = await worker.run(async (path) => {
        const fs = await import('node:fs');
        if (path.endsWith('/fd')) return fs.readdirSync(path).length;
        const file = fs.openSync(path, 'r');
        return fs.readSync(file, Buffer.alloc(64), 0, 64, 0);
      }, `/proc/${pid}/${name}`);
      t.match(outcome, { code: /^(EACCES|EPERM|ENOENT|ESRCH)$/ }, `${kind}: ${name}`);
    }
    const written = await worker.run(
      async (path) => (await import('node:fs')).openSync(path, 'r+'),
      `/proc/${pid}/mem`,
    );
    t.match(written, { code: /^(EACCES|EPERM|ENOENT)$/ }, `${kind}: writing its memory`);
    for (const verb of ['trace', 'read', 'descriptor']) {
      if (process.getuid?.() === 0)
        t.equal(
          execFileSync(attack, [verb, String(pid)], { encoding: 'utf8' }),
          'done\n',
          `${verb} does what it is for`,
        );
      const outcome = await worker.run(
        async (verb, pid) => {
          const { execFileSync } = await import('node:child_process');
          const program = process.argv[1]?.replace(/proxy\/main\.ts$/, 'attack') ?? '';
          const stdio = [0, 'pipe', 2, 'ignore', 'ignore', 5] as const;
          return execFileSync(program, [verb, String(pid)], { encoding: 'utf8', stdio: [...stdio] });
        },
        verb,
        pid,
      );
      t.match(outcome, { value: /^(Operation not permitted|No such process)\n$/ }, `${kind}: ${verb}`);
    }
  }
}
