import { hkdfSync, randomFillSync } from 'node:crypto';

const SECRET_BYTES = 32;
/** What Node takes as `ticketKeys`: name, AES key and HMAC key, 16 bytes each. */
const TICKET_BYTES = 48;
const EPOCH_MS = 12 * 60 * 60 * 1000;

/**
 * Keys for TLS session tickets: the same for all workers, different for each agent, authority, host, port and epoch, so that
 * one agent's session is not resumed on another's tunnel, nor one that an old root vouched for after that was retired. The secret they are derived from lives as long as the vault.
 */
export class TicketKeys {
  readonly #secret = randomFillSync(Buffer.allocUnsafeSlow(SECRET_BYTES));

  /** 48 bytes, which the caller wipes. */
  derive(agent: string, authority: string, host: string, port: number, now = Date.now()): Buffer {
    const info = JSON.stringify([
      'sallyport tickets v2',
      agent,
      authority,
      host,
      port,
      Math.floor(now / EPOCH_MS),
    ]);
    return Buffer.from(hkdfSync('sha256', this.#secret, Buffer.alloc(0), info, TICKET_BYTES));
  }
}
