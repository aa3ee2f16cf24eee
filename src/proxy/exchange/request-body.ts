import type { Buffer } from 'node:buffer';
import type { Rule } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import { createBodyReader } from '../http/body.ts';
import type { BodyReader, Framing } from '../http/message.ts';
import { compileInjection } from '../injection/registry.ts';
import { Unframed } from '../websocket/unframed.ts';
import type { Worker } from '../worker.ts';
import { CollectedBody } from './collected-body.ts';

/** The body of a request on its way to the server: its framing, its size, and its pace. */
export class RequestBody {
  readonly #worker: Worker;
  readonly #framing: Framing;
  #reader: BodyReader | undefined;
  #most: number | null = null;
  /** Whether a part of it has been read. */
  begun = false;
  /** Whether it broke off or is malformed, so that nothing can follow it. */
  broken = false;
  /** Where the head says its hash: it is read to its end before anything is sent. */
  #collected: CollectedBody | undefined;
  /** When it last moved on; infinite while the agent is not the one to wait for. */
  #movedAt = Number.POSITIVE_INFINITY;

  constructor(worker: Worker, framing: Framing) {
    this.#worker = worker;
    this.#framing = framing;
    if (framing.kind !== 'chunked') {
      this.#reader = createBodyReader(framing, 'request', worker.settings.limits);
    }
  }

  /** Whether its last byte has been read. */
  get done(): boolean {
    return this.#reader?.done ?? false;
  }

  /** Holds it to the limits of `rule`. Throws content_too_large where its length alone is beyond them. */
  admit(rule: Rule): void {
    const { limits } = this.#worker.settings;
    const framing = this.#framing;
    this.#most = rule.limits.bodyBytes ?? limits.bodyBytes;
    this.#checkSize(framing.kind === 'length' ? framing.length : 0);
    if (framing.kind !== 'chunked') return;
    // A credential field that came back in a trailer would be a second one, of the agent's own making.
    this.#reader = createBodyReader(framing, 'request', limits, compileInjection(rule.inject).names);
  }

  /** Protocols are switched: all that follows belongs to it. */
  unframe(): void {
    this.#reader = new Unframed();
    this.#most = null;
    this.rest();
  }

  /** The offset after what belongs to it in `chunk`, from `at`. Throws content_too_large, and what a BodyReader throws. */
  read(chunk: Buffer, at: number): number {
    const reader = this.#reader;
    if (!reader) return chunk.length;
    this.begun = true;
    const end = reader.read(chunk, at);
    this.#checkSize(reader.contentBytes);
    this.#collected?.take(chunk.subarray(at, end), chunk, reader);
    return end;
  }

  /** From now on what is read is held. */
  collect(): void {
    this.#collected = new CollectedBody();
  }

  get collecting(): boolean {
    return this.#collected !== undefined;
  }

  /** SHA-256 of the content in hex, once all of it was collected. */
  get hash(): string | undefined {
    return this.#collected?.hash;
  }

  /** What was collected, as it came, once; it is not held any more. */
  takeCollected(): Buffer | undefined {
    return this.#collected?.release();
  }

  /** Holds nothing any more. */
  drop(): void {
    this.#collected?.drop();
  }

  /** The agent has its time for more of it from now on. */
  moved(now: number): void {
    this.#movedAt = this.done ? Number.POSITIVE_INFINITY : now;
  }

  /** The agent is not the one to wait for. */
  rest(): void {
    this.#movedAt = Number.POSITIVE_INFINITY;
  }

  /** The request_timeout of a body that stopped coming; told once. */
  checkDeadline(now: number): SallyportError | undefined {
    if (now - this.#movedAt <= this.#worker.settings.limits.bodyTimeoutMs) return undefined;
    this.rest();
    this.#worker.metrics.limit('slow_body');
    const why = 'The body of the request stopped coming: send it without long pauses.';
    return new SallyportError('request_timeout', why);
  }

  #checkSize(bytes: number): void {
    if (this.#most === null || bytes <= this.#most) return;
    this.#worker.metrics.limit('body_size');
    throw new SallyportError(
      'content_too_large',
      `The body is larger than the ${this.#most} bytes that are allowed here: send a smaller one, or ask the owner to raise the limit of this service.`,
    );
  }
}
