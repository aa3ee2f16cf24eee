import { SallyportError } from '../../errors.ts';
import { readBasicCredentials } from '../basic-credentials.ts';
import { nameEquals } from '../http/field-name.ts';
import type { RequestHead } from '../http/message.ts';
import { RequestReader } from '../http/request.ts';
import { parseAuthority } from '../http/target.ts';
import { authenticate } from '../policy/authenticate.ts';
import { refuseIntegrity } from '../policy/refusal.ts';
import { asSallyportError, problemResponse } from '../problem.ts';
import type { Approach, Asked, Way } from './approach.ts';
import { enter, type Identity } from './enter.ts';

/** git and Java ask once without credentials, then again on the same connection (measured). */
const MAX_CHALLENGES = 4;
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n', 'latin1');

/** The way of an HTTP proxy: CONNECT, with the agent's name and token as Basic credentials (RFC 9110, 9.3.6 and 11.7). */
export class HttpWay implements Way {
  readonly #approach: Approach;
  readonly #reader: RequestReader;
  #challenges = 0;

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
    return problemResponse(error, { close: true, bodiless: false, reason: true });
  }

  async #take(head: RequestHead, rest: Buffer): Promise<void> {
    const asked: Asked = { agent: null, method: head.method, host: '', port: 0, path: '' };
    let who: Identity | undefined;
    try {
      who = proxyCredentials(head);
      const { policy } = this.#approach.worker;
      if (who && policy.integrity !== null) throw untrusted();
      const agent = who && authenticate(policy, who.name, who.token);
      if (!who || !agent) return this.#challenge(asked, who, head, rest);
      this.#approach.recognised();
      asked.agent = agent.name;
      if (head.method !== 'CONNECT') throw notConnect();
      const to = parseAuthority(head.bytes, head.targetStart, head.targetEnd);
      Object.assign(asked, to);
      await enter(this.#approach, who, to, ESTABLISHED, rest);
    } catch (error) {
      who?.token.fill(0);
      this.#approach.refuse(asked, asSallyportError(error));
    }
  }

  /** 407: the same answer whether the agent is unknown, the token wrong, or neither was sent. */
  #challenge(asked: Asked, who: Identity | undefined, head: RequestHead, rest: Buffer): void {
    const error = new SallyportError(
      'proxy_auth_required',
      'Send Proxy-Authorization: Basic with this agent’s name and token; `sallyport agent rotate NAME` makes a new token.',
    );
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

function proxyCredentials(head: RequestHead): Identity | undefined {
  const { bytes, count, offsets } = head.fields;
  let found: Identity | undefined;
  for (let i = 0; i < count; i++) {
    const [start, end, valueStart, valueEnd] = offsets.subarray(4 * i, 4 * i + 4);
    if (start === undefined || end === undefined || valueStart === undefined || valueEnd === undefined) break;
    if (!nameEquals(bytes, start, end, 'proxy-authorization')) continue;
    if (found) {
      found.token.fill(0);
      return undefined; // two of them: which one is meant is anybody's guess
    }
    found = readBasicCredentials(bytes, valueStart, valueEnd);
    bytes.fill(0, valueStart, valueEnd);
    if (!found) return undefined;
  }
  return found;
}

function notConnect(): SallyportError {
  return new SallyportError(
    'policy_denied',
    'This proxy carries HTTPS only: ask for the https:// address, which your client reaches with CONNECT.',
  );
}

/** What a stored policy says of tokens is worth no more than the rest of it: nobody is told that theirs is wrong. */
function untrusted(): SallyportError {
  const { code, message } = refuseIntegrity('The stored policy');
  return new SallyportError(code, message);
}
