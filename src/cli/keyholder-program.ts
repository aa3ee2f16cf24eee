import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isErrorCode, SallyportError } from '../errors.ts';

const TIMEOUT_MS = 120_000;

export interface Run {
  /** Of src/keyholder: "check" and the like. */
  readonly program: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Descriptors that it gets as 0, 3, 4 and so on; 1 is its answer, 2 nowhere. */
  readonly descriptors: readonly (number | 'ignore')[];
}

/**
 * Runs a program that talks to the HSM in a process of its own, and answers its one JSON document: this process loads no
 * PKCS#11 and never reads the PIN. As with serve's keyholder, no signal opens a debugger in it and no core is made of it.
 * Throws what that process reports, hsm_unavailable where it ends or hangs instead.
 */
export async function runKeyholderProgram({
  program,
  args,
  environment,
  descriptors,
}: Run): Promise<unknown> {
  const file = fileURLToPath(
    new URL(`../keyholder/${program}${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
  );
  const [input = 'ignore', ...others] = descriptors;
  const node = [process.execPath, '--disable-sigusr1', '--disable-warning=ExperimentalWarning'];
  const child = spawn('prlimit', ['--core=0:0', ...node, file, ...args], {
    env: { ...environment },
    stdio: [input, 'pipe', 'pipe', ...others],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr?.resume(); // a module's own chatter
  const { code, signal } = await new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const answer = lastLine(Buffer.concat(output).toString('utf8'));
  if (code === 0 && answer !== undefined) return answer;
  throw reported(answer, child.killed ? 'hung' : signal);
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A module may have printed something of its own before. */
function lastLine(output: string): unknown {
  try {
    return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '');
  } catch {
    return undefined; // it ended before it could answer, which `reported` says
  }
}

/** `how`: the signal that it ended by, if any; `hung`: ended by us. */
function reported(answer: unknown, how: NodeJS.Signals | 'hung' | null): SallyportError {
  const error: unknown = Object(Object(answer).error);
  if (typeof error === 'object' && error !== null && 'code' in error && 'message' in error) {
    if (isErrorCode(error.code)) return new SallyportError(error.code, String(error.message));
  }
  return new SallyportError('hsm_unavailable', whyNoAnswer(how));
}

function whyNoAnswer(how: NodeJS.Signals | 'hung' | null): string {
  if (how === 'hung') return 'The HSM did not answer within two minutes: check its connection.';
  if (how !== null)
    return `The HSM's PKCS#11 library crashed (${how}): check that it is the right one, and whole.`;
  return 'The process that talks to the HSM ended without a reason: check that its PKCS#11 library can be loaded.';
}
