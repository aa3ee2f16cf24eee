import type { OnReadOpts } from 'node:net';
import { allocateSecret } from '../../secret-buffer.ts';

/** Of every connection: what is read is dealt with before the next bytes are. Node reads TLS in pieces of up to 16 KiB. */
const BUFFER = allocateSecret(16 * 1024);
let busy = false;

/**
 * What a TLS connection receives, handed on in one buffer that is wiped each time: an echoed credential leaves no copy,
 * and nothing is allocated for it. It bypasses the socket's stream, which makes a buffer and an event of each read. For
 * the option `onread` of tls.connect.
 */
export class Incoming {
  /** Takes the bytes: the buffer is another's once this returns. */
  take: ((bytes: Buffer) => void) | undefined;
  /** Set where bytes came before anybody was there to take them. */
  premature = false;

  readonly onread: OnReadOpts = {
    buffer: BUFFER,
    callback: (length) => {
      // Read within a read: the first bytes are overwritten already, so this process can answer for nothing any more.
      if (busy) throw new Error('a server was read while the bytes of another were in hand');
      busy = true;
      const bytes = BUFFER.subarray(0, length);
      try {
        if (this.take) this.take(bytes);
        else this.premature = true;
      } finally {
        bytes.fill(0);
        busy = false;
      }
      return true;
    },
  };
}
