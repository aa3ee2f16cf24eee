import { Buffer } from 'node:buffer';
import { closeSync, openSync, readSync } from 'node:fs';
import { SallyportError } from '../errors.ts';

/** Twice what a credential may hold, so that escapes in JSON fit. */
const MAX_INPUT = 256 * 1024;

/**
 * Reads a secret whole from standard input, or from `file`, into memory of its own, which the caller wipes. One
 * newline at its end is not part of it. Throws invalid_argument, invalid_credential.
 */
export function readSecret(file: string | undefined): Buffer {
  const memory = Buffer.allocUnsafeSlow(MAX_INPUT + 1);
  const descriptor = file === undefined ? 0 : openFile(file);
  let length = 0;
  try {
    for (;;) {
      const read = readSome(descriptor, memory, length);
      if (read === 0) break;
      length += read;
      if (length > MAX_INPUT) {
        memory.fill(0);
        throw new SallyportError('invalid_credential', `The secret is longer than ${MAX_INPUT} bytes.`);
      }
    }
  } finally {
    if (descriptor !== 0) closeSync(descriptor);
  }
  if (length > 0 && memory[length - 1] === 0x0a) length -= memory[length - 2] === 0x0d ? 2 : 1;
  if (length === 0) {
    throw new SallyportError(
      'invalid_credential',
      `No secret came from ${file ?? 'standard input'}: pipe it in, such as "… < key.txt".`,
    );
  }
  return memory.subarray(0, length);
}

function openFile(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_argument', `${file} cannot be read (${why}).`, { cause });
  }
}

function readSome(descriptor: number, memory: Buffer, at: number): number {
  for (;;) {
    try {
      return readSync(descriptor, memory, at, memory.length - at, null);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'EOF') return 0;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); // a descriptor that somebody made non-blocking
    }
  }
}

/**
 * Asks for a secret at the terminal without showing it; Enter ends it. The caller wipes the answer. Throws
 * invalid_credential where it is interrupted or empty.
 */
export function promptSecret(question: string): Buffer {
  const memory = Buffer.allocUnsafeSlow(MAX_INPUT);
  let length = 0;
  process.stderr.write(`${question}: `);
  process.stdin.setRawMode(true);
  try {
    while (readSome(0, memory.subarray(0, length + 1), length) === 1) {
      const byte = memory[length];
      if (byte === 0x0d || byte === 0x0a || byte === 0x04) break;
      if (byte === 0x03) {
        memory.fill(0);
        throw new SallyportError('invalid_credential', 'Nothing was saved: interrupted.');
      }
      if (byte === 0x7f || byte === 0x08) length = Math.max(0, length - 1);
      else if (length < MAX_INPUT - 1) length += 1;
    }
  } finally {
    process.stdin.setRawMode(false);
    process.stderr.write('\n');
  }
  if (length === 0)
    throw new SallyportError('invalid_credential', `No ${question} was given: nothing was saved.`);
  return memory.subarray(0, length);
}
