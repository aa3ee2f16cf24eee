import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { copySecret } from '../secret-buffer.ts';

/**
 * Writes `bytes` and wipes them as soon as they are encrypted. For a credential the socket must be secured and idle:
 * then that is before this returns, and no copy is left (measured). Returns what `socket.write` does.
 */
export function writeAndWipe(socket: Duplex, bytes: Buffer): boolean {
  if (!encryptsAtOnce(socket)) return socket.write(bytes, () => bytes.fill(0));
  const wantsMore = socket.write(bytes);
  bytes.fill(0);
  return wantsMore;
}

/** Writes `bytes`, which are the caller's to overwrite once this returns. Returns what `socket.write` does. */
export function writeTaken(socket: Duplex, bytes: Buffer): boolean {
  if (encryptsAtOnce(socket)) return socket.write(bytes);
  return writeAndWipe(socket, copySecret(bytes));
}

/** Node encrypts what is written to a TLS socket with nothing in flight at once, and refers to it no longer. */
function encryptsAtOnce(socket: Duplex): boolean {
  return socket instanceof tls.TLSSocket && socket.writableLength === 0;
}
