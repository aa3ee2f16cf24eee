import type { SallyportError } from '../../errors.ts';
import type { RequestHead } from '../http/message.ts';
import type { AgentSide } from './agent-side.ts';
import type { RequestBody } from './request-body.ts';

/** Whose request is carried. */
export interface Carried {
  readonly tunnel: AgentSide;
  readonly head: RequestHead;
  /** Undefined where the request has none. */
  readonly body: RequestBody | undefined;
  /** Whether the request's body is not whole yet. */
  readonly wantsBody: boolean;
  /** Whether the agent's connection can take another request after this one, as far as is known now. */
  readonly persistent: boolean;
  /** The server has switched protocols: all that the agent sends now belongs to the body. */
  switchBody(): void;
  /** Answers with a problem. */
  fail(error: SallyportError): void;
  finish(status: number | null, error: string | null, then: () => void): void;
}
