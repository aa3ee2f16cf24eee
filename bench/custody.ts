import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { fill } from '../test/support/fill.ts';
import { ACME, type Installation, install, TestVault } from '../test/support/vault.ts';

/**
 * What the keys cost, on SoftHSM, printed as JSON: how much longer a vault with many rows takes to start, and how long a
 * rotation of many credentials takes.
 *
 *   node bench/custody.ts [--credentials 10000] [--rows 100000] [--output FILE]
 */
const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '10000' },
    rows: { type: 'string', default: '100000' },
    output: { type: 'string' },
  },
});
const TICKS_PER_SECOND = 100;

interface Taken {
  readonly seconds: number;
  /** Of the process, user and system. */
  readonly vaultCpuSeconds: number;
  readonly keyholderCpuSeconds: number;
}

/** Two rows to a credential. */
async function filled(rows: number): Promise<Installation> {
  const installation = await install();
  if (rows > 0) await fill(installation, ACME, Math.ceil(rows / 2));
  return installation;
}

/** From the vault's start until it serves the policy. */
async function startUp(installation: Installation): Promise<Taken> {
  const began = performance.now();
  const vault = await TestVault.start(installation);
  const taken = since(began, vault, [0, 0]);
  await vault.stop();
  return taken;
}

async function rotation(installation: Installation): Promise<Taken & { readonly rewrapped: number }> {
  const vault = await TestVault.start(installation);
  const before = cpuOf(vault);
  const began = performance.now();
  let text = '';
  for await (const chunk of await vault.open('POST', '/v1/hsm/rotate')) text += String(chunk);
  const taken = since(began, vault, before);
  const { done, total } = JSON.parse(text.trim().split('\n').at(-1) ?? '');
  if (done !== total) throw new Error(text.slice(-500));
  await vault.stop();
  return { rewrapped: done, ...taken };
}

function since(
  began: number,
  vault: TestVault,
  [vaultBefore, keyholderBefore]: readonly [number, number],
): Taken {
  const seconds = (performance.now() - began) / 1_000;
  const [ofVault, ofKeyholder] = cpuOf(vault);
  return {
    seconds: round(seconds),
    vaultCpuSeconds: round(ofVault - vaultBefore),
    keyholderCpuSeconds: round(ofKeyholder - keyholderBefore),
  };
}

function cpuOf({ process, keyholder }: TestVault): [vault: number, keyholder: number] {
  return [cpuSeconds(process.pid), cpuSeconds(keyholder?.pid)];
}

/** proc(5): the name in the second field may hold spaces and parentheses. */
function cpuSeconds(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function round(of: number): number {
  return Math.round(of * 100) / 100;
}

const rows = Number(values.rows);
const credentials = Number(values.credentials);
const [empty, large, many] = [await filled(0), await filled(rows), await filled(2 * credentials)];
try {
  await startUp(empty); // makes the proxy's authority
  const withoutRows = await startUp(empty);
  const withRows = await startUp(large);
  const result = {
    machine: { cores: availableParallelism(), node: process.version },
    startUp: { rows, withoutRows, withRows, more: round(withRows.seconds - withoutRows.seconds) },
    rotation: { credentials, ...(await rotation(many)) },
  };
  const json = JSON.stringify(result, null, 2);
  process.stdout.write(`${json}\n`);
  if (values.output !== undefined) writeFileSync(values.output, `${json}\n`);
} finally {
  for (const each of [empty, large, many]) each.remove();
}
