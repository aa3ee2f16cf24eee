import { Buffer } from 'node:buffer';
import { closeSync, constants, openSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isErrorCode, SallyportError } from '../errors.ts';
import { type Context, requireDataFolder } from './context.ts';

/** The longest path that fits a socket's address (108 bytes on Linux, 104 elsewhere, with a closing NUL). */
const MAX_SOCKET_PATH = 100;
const MAX_REPLY_BYTES = 64 * 1024 * 1024;
const REPLY_TIMEOUT_MS = 30_000;
/** How long a vault that its supervisor starts again may take, workers of the one before included. */
const RESTART_MS = 15_000;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/**
 * Asks the running vault over its control socket, which only its owner can open. Answers the reply's JSON.
 * Throws what the vault answered, `vault_not_running` where none listens, `vault_unavailable` where it went away
 * before it answered.
 */
export async function control(
  context: Context,
  method: Method,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const response = await open(context, method, path, body);
  const text = await readAll(response);
  if (response.statusCode === undefined || response.statusCode >= 300) throw refusal(text);
  return text.length === 0 ? null : parse(text);
}

/** Like `control`, for an answer that streams: resolves once its head is there; the caller reads or destroys it. */
export async function controlStream(
  context: Context,
  method: Method,
  path: string,
  body?: unknown,
): Promise<IncomingMessage> {
  const response = await open(context, method, path, body);
  if (response.statusCode === undefined || response.statusCode >= 300) throw refusal(await readAll(response));
  return response;
}

async function open(context: Context, method: Method, path: string, body: unknown): Promise<IncomingMessage> {
  requireDataFolder(context);
  const deadline = Date.now() + RESTART_MS;
  for (;;) {
    try {
      return await send(context.data, method, path, body);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      const absent = code === 'ENOENT' || code === 'ECONNREFUSED';
      if (absent && Date.now() < deadline && (await beingServed(context.data))) {
        await delay(100);
        continue;
      }
      throw unanswered(context, error, code);
    }
  }
}

function unanswered(context: Context, error: unknown, code: unknown): unknown {
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new SallyportError(
      'vault_not_running',
      `No vault runs on ${context.data}: start it with "sallyport serve", then call this again.`,
    );
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new SallyportError(
      'vault_not_running',
      `This user may not talk to the vault of ${context.data}: call this as the user that runs "sallyport serve".`,
    );
  }
  if (error instanceof SallyportError || typeof code !== 'string') return error;
  return new SallyportError(
    'vault_unavailable',
    `The vault went away before it answered (${code}): see "sallyport status", then check whether this was done.`,
    { cause: error },
  );
}

// Not imported: an import reads every export, some of which load the whole fetch implementation (90 ms).
const http = process.getBuiltinModule('node:http');

function send(data: string, method: Method, path: string, body: unknown): Promise<IncomingMessage> {
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return withSocketPath(data, (socketPath) => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = http.request({
      socketPath,
      method,
      path,
      agent: false,
      headers:
        payload === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(payload.length) },
    });
    request.setTimeout(REPLY_TIMEOUT_MS, () =>
      request.destroy(
        new SallyportError(
          'vault_unavailable',
          'The vault did not answer within 30 seconds: see "sallyport status".',
        ),
      ),
    );
    request.on('error', reject);
    request.on('response', (response) => {
      request.setTimeout(0);
      resolve(response);
    });
    request.end(payload);
    return promise;
  });
}

/** Gives `use` a path to the socket that is short enough: through the folder's descriptor where it is not. */
async function withSocketPath<T>(data: string, use: (path: string) => Promise<T>): Promise<T> {
  const path = join(data, 'vault', 'control.sock');
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return use(path);
  const folder = openSync(join(data, 'vault'), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await use(`/proc/self/fd/${folder}/control.sock`);
  } finally {
    closeSync(folder);
  }
}

async function beingServed(data: string): Promise<boolean> {
  const { isServed } = await import('../supervisor/data-folder.ts');
  return isServed(data);
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size > MAX_REPLY_BYTES) {
      throw new SallyportError('vault_unavailable', 'The vault answered more than 64 MiB: ask for less.');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parse(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString('utf8'));
  } catch (error) {
    throw new SallyportError('internal', 'The vault answered no JSON: are CLI and vault of one version?', {
      cause: error,
    });
  }
}

function refusal(text: Buffer): SallyportError {
  const body = parse(text);
  if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string') {
    const code = 'code' in body && isErrorCode(body.code) ? body.code : 'internal';
    return new SallyportError(code, body.message);
  }
  return new SallyportError(
    'internal',
    'The vault refused without saying why: see the output of "sallyport serve".',
  );
}
