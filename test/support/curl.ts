import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent } from './agent.ts';

export interface CurlResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs curl to its end as that agent, through the proxy; `args` are its further arguments, the URL among them. */
export async function curl(proxy: string, agent: Agent, args: readonly string[]): Promise<CurlResult> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-curl-'));
  const ca = join(folder, 'ca.pem');
  writeFileSync(ca, agent.ca);
  const via = ['--silent', '--show-error', '--max-time', '20', '--proxy', proxy];
  const user = ['--proxy-user', `${agent.name}:${agent.token}`, '--cacert', ca];
  try {
    return await run('curl', [...via, ...user, ...args]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a program to its end, in a small environment of its own. */
export async function run(program: string, args: readonly string[]): Promise<CurlResult> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  return { code: await promise, stdout, stderr };
}
