import type net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';

/**
 * Whether a TLS peer announced its end with a close_notify (RFC 8446, 6.1) or its TCP connection just ended, which
 * whoever sits on the path can bring about. Node tells neither from the other. But a close_notify is bytes on the TCP
 * connection and an end is none: so at the end, bytes must have come since the last look. To look is to read a
 * counter; whoever looks does so in a later turn than that of the data before, since data and close_notify may come
 * together, and are then told of in one turn.
 *
 * Bytes that are no record, and an end that is read in one turn with the last data, pass for a close_notify.
 */
export class CloseNotify {
  readonly #secure: boolean;
  readonly #counter: { readonly bytesRead: number } | undefined;
  #seen = -1;
  #looking = false;

  /** `raw`: the TCP socket under `socket`, where it has one of its own. Without TLS every end counts as announced. */
  constructor(socket: Duplex, raw?: net.Socket) {
    this.#secure = socket instanceof tls.TLSSocket;
    this.#counter = raw ?? tcpHandle(socket);
  }

  /** Looks now. */
  look(): void {
    this.#seen = this.#counter?.bytesRead ?? -1;
  }

  /** Looks in a later turn; until then an end counts as announced, since it came with what came before. */
  lookLater(): void {
    if (this.#looking) return;
    this.#looking = true;
    setImmediate(() => {
      this.#looking = false;
      this.look();
    });
  }

  /** Asked at the end of the stream; false where nothing is known. */
  get announced(): boolean {
    if (!this.#secure) return true;
    return this.#counter !== undefined && (this.#looking || this.#counter.bytesRead > this.#seen);
  }
}

/** A socket that tls.connect opened itself has no TCP socket below it, only that one's handle, which is not public. */
function tcpHandle(socket: Duplex): { readonly bytesRead: number } | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  const parent: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, '_parent') : undefined;
  const counts =
    typeof parent === 'object' && parent !== null && typeof Reflect.get(parent, 'bytesRead') === 'number';
  return counts
    ? {
        get bytesRead() {
          return Number(Reflect.get(parent, 'bytesRead'));
        },
      }
    : undefined;
}
