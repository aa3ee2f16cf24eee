import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type Place, start, stop } from './processes.ts';
import { find } from './tools.ts';

const START_MS = 5000;

/** Starts an nginx of one worker that serves `http` (the inside of its http block) on `port` of the loopback address. */
export async function startNginx(
  place: Place,
  folder: string,
  port: number,
  http: string,
): Promise<ChildProcess> {
  mkdirSync(folder);
  const log = join(folder, 'error.log');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(folder, kind)};`,
  );
  const configuration = [
    process.getuid?.() === 0 ? 'user root;' : '',
    `worker_processes 1; daemon off; pid ${join(folder, 'pid')}; error_log ${log};`,
    'events { worker_connections 4096; }',
    `http { ${temporary.join(' ')} keepalive_requests 1000000000; keepalive_timeout 600s; ${http} }`,
  ];
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, configuration.join('\n'));
  const child = start(place, [find('nginx'), '-c', file, '-e', log], { stdio: 'ignore' });
  for (const deadline = Date.now() + START_MS; !(await answers(port)); await setTimeout(20)) {
    if (child.exitCode === null && Date.now() < deadline) continue;
    await stop(child);
    throw new Error(`nginx did not start: ${readFileSync(log, 'utf8').trim()}`);
  }
  return child;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
