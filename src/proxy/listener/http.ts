import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import { RequestReader } from '../http/request.ts';
import { parseAuthority } from '../http/target.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import type { Approach, Asked, Way } from './approach.ts';
import { enter } from './enter.ts';
import { identify, takeTurn } from './entrant.ts';
import { enterPlain, plainTarget } from './plain.ts';
import { credentialsRequired, type Identity, takeProxyCredentials } from './proxy-credentials.ts';

/** git and Java ask once without credentials, then again on the same connection (measured). */
const MAX_CHALLENGES = 4;
const NOTHING = Buffer.alloc(0);
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n', 'latin1');

/**
 * The way of an HTTP proxy: CONNECT (RFC 9110, 9.3.6), or a request in absolute-form, with the agent's name and token as
 * Basic credentials (11.7).
 */
export class HttpWay implements Way {
  readonly #approach: Approach;
  readonly #reader: RequestReader;
  #challenges = 0;
  /** Of the head in hand; '' where it could not be read. */
  #method = '';

  constructor(approach: Approach) {
    this.#approach = approach;
    this.#reader = new RequestReader(approach.worker.settings.limits);
  }

  read(chunk: Buffer): void {
    const end = this.#reader.read(chunk, 0);
    if (end < 0) return;
    this.#approach.hold();
    void this.#take(this.#reader.head, chunk.subarray(end));
  }

  refusal(error: SallyportError): Buffer {
    const isConnect = this.#method === 'CONNECT' || this.#method === '';
    return problemResponse(error, { close: true, bodiless: this.#method === 'HEAD', reason: isConnect });
  }

  async #take(head: RequestHead, rest: Buffer): Promise<void> {
    const { worker } = this.#approach;
    const { method } = head;
    const asked: Asked = { agent: null, method, host: '', port: 0, path: '' };
    // A plain request is read again where it is carried, and shows there whose it is, as the next ones do.
    const sent = method === 'CONNECT' ? NOTHING : Buffer.concat([head.bytes, rest]);
    let who: Identity | undefined;
    this.#method = method;
    try {
      who = takeProxyCredentials(head);
      const agent = who && identify(worker.policy, who);
      if (!who || !agent) {
        sent.fill(0);
        return this.#challenge(asked, who, head, rest);
      }
      this.#approach.recognised();
      asked.agent = agent.name;
      const isConnect = method === 'CONNECT';
      const to = isConnect ? parseAuthority(head.bytes, head.targetStart, head.targetEnd) : plainTarget(head);
      Object.assign(asked, to);
      if (isConnect)
        await enter(this.#approach, await takeTurn(worker, who), to, { established: ESTABLISHED, rest });
      else enterPlain(this.#approach, await takeTurn(worker, who), sent);
    } catch (error) {
      sent.fill(0);
      who?.token.fill(0);
      this.#approach.refuse(asked, asSallyportError(error));
    }
  }

  #challenge(asked: Asked, who: Identity | undefined, head: RequestHead, rest: Buffer): void {
    const error = credentialsRequired();
    const again = ++this.#challenges < MAX_CHALLENGES && head.framing.kind === 'none' && rest.length === 0;
    const answer = (): void => {
      const bytes = problemResponse(error, {
        close: !again,
        bodiless: head.method === 'HEAD',
        reason: false,
      });
      this.#reader.reset();
      if (again) this.#approach.answer(bytes);
      else this.#approach.close(bytes);
    };
    who?.token.fill(0);
    if (who) this.#approach.worker.stages.journal.refusal(asked, error, answer);
    else answer();
  }
}
