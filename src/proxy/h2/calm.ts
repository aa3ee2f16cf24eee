import type http2 from 'node:http2';
import { RateLimit } from '../../rate-limit.ts';

/** Cancelled requests, pings and settings: so many at once, then so many a second. A busy agent has a few. */
const BURST = 200;
const PER_SECOND = 50;

/**
 * What a peer may ask for without getting anything of it: requests that it resets (CVE-2023-44487), pings, settings.
 * Each costs it a frame and us much more. Who goes on is told to calm down, and cut off.
 */
export class Calm {
  readonly #rate = new RateLimit({ perSecond: PER_SECOND, burst: BURST, maxWaitMs: 0 });
  readonly #onFlood: () => void;

  constructor(session: http2.Http2Session, onFlood: () => void) {
    this.#onFlood = onFlood;
    session.on('ping', () => this.spend());
    session.on('remoteSettings', () => this.spend());
  }

  spend(): void {
    if (this.#rate.take('', performance.now()) === undefined) this.#onFlood();
  }
}
