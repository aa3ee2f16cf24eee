import { SallyportError } from '../../errors.ts';
import { readBasicCredentials } from '../basic-credentials.ts';
import { nameEquals } from '../http/field-name.ts';
import type { RequestHead } from '../http/message.ts';

/** Who an agent says it is. Whoever holds `token` last wipes it. */
export interface Identity {
  readonly name: string;
  readonly token: Buffer;
}

/** The head's Proxy-Authorization, wiped there; undefined where it has none that can be used. */
export function takeProxyCredentials(head: RequestHead): Identity | undefined {
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

/** 407: the same whether the agent is unknown, the token wrong, or neither was sent. */
export function credentialsRequired(): SallyportError {
  return new SallyportError(
    'proxy_auth_required',
    'Send Proxy-Authorization: Basic with this agent’s name and token; `sallyport agent rotate NAME` makes a new token.',
  );
}
