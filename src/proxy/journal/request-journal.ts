import { quote } from '../../audit/ascii.ts';
import type { FlushCallback, JournalWriter } from '../../audit/journal.ts';
import type { OutcomeRecord, RequestRecord, ScrubRecord } from '../../audit/record.ts';
import { timestamp } from '../../audit/timestamp.ts';
import type { SallyportError } from '../../errors.ts';

/**
 * What is known of a request before it is forwarded. `path` is the path as received: bytes, or their Latin-1 text;
 * what follows a "?" is never written, for queries hold secrets.
 */
export type Intent = Omit<RequestRecord, 'type' | 'id' | 'time' | 'path'> & {
  readonly path: string | Buffer;
};

export type Outcome = Omit<OutcomeRecord, 'type' | 'id' | 'time'>;

/** A worker's audit journal. Lines are built by hand: this runs twice for every request. */
export class RequestJournal {
  readonly #writer: JournalWriter;
  readonly #onProblem: (code: string) => void;
  #lastId = 0;

  /** `onProblem` is told the code of each refusal and failure that is recorded. */
  constructor(writer: JournalWriter, onProblem: (code: string) => void = () => {}) {
    this.#writer = writer;
    this.#onProblem = onProblem;
  }

  /**
   * Records a request and returns its id. `then` runs in a later turn, once the record is in the file: only then may
   * the request be forwarded; with journal_unavailable it must be refused.
   */
  intent(request: Intent, then: FlushCallback): number {
    const id = ++this.#lastId;
    this.#writer.appendLine(
      `{"type":"request","id":${id},"time":"${timestamp()}","agent":${orNull(request.agent)},"method":${quote(request.method)},"host":${quote(request.host)},"port":${request.port},"path":${quote(withoutQuery(request.path))},"service":${orNull(request.service)},"credential":${orNull(request.credential)},"version":${request.version},"decision":"${request.decision}","reason":${quote(request.reason)}}`,
    );
    this.#writer.onFlush(then);
    return id;
  }

  /** Records a request that is refused with `error`; `then` as for `intent`: only then is it answered. */
  refusal(
    asked: Pick<Intent, 'agent' | 'method' | 'host' | 'port' | 'path'>,
    error: SallyportError,
    then: FlushCallback,
  ): void {
    this.#onProblem(error.code);
    const none = { service: null, credential: null, version: null };
    const decision = error.status === 403 ? 'denied' : 'refused';
    this.intent({ ...asked, ...none, decision, reason: error.code }, then);
  }

  /** Records how the forwarded request `id` ended. Times in milliseconds, written to the microsecond. */
  outcome(id: number, outcome: Outcome): void {
    if (outcome.error !== null) this.#onProblem(outcome.error);
    this.#writer.appendLine(
      `{"type":"outcome","id":${id},"time":"${timestamp()}","status":${outcome.status},"error":${orNull(outcome.error)},"overheadMs":${milliseconds(outcome.overheadMs)},"totalMs":${milliseconds(outcome.totalMs)},"bytesUp":${outcome.bytesUp},"bytesDown":${outcome.bytesDown}}`,
    );
  }

  /** Records that the credential was overwritten `hits` times in the response to request `id`. */
  scrubbed(id: number, where: ScrubRecord['where'], hits: number): void {
    this.#writer.appendLine(
      `{"type":"scrub","id":${id},"time":"${timestamp()}","where":"${where}","hits":${hits}}`,
    );
  }
}

function orNull(text: string | null): string {
  return text === null ? 'null' : quote(text);
}

function withoutQuery(path: string | Buffer): string {
  const text = typeof path === 'string' ? path : path.toString('latin1');
  const query = text.indexOf('?');
  return query < 0 ? text : text.slice(0, query);
}

/** To the microsecond, by whole numbers: a request's two lines took 3.2 us of CPU so, 3.6 with fractions (measured). */
function milliseconds(ms: number): string {
  const microseconds = Math.round(ms * 1000);
  const whole = Math.trunc(microseconds / 1000);
  const rest = microseconds - whole * 1000;
  if (rest === 0) return `${whole}`;
  return rest < 10 ? `${whole}.00${rest}` : rest < 100 ? `${whole}.0${rest}` : `${whole}.${rest}`;
}
