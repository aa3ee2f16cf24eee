import { SallyportError } from '../../errors.ts';
import { badRequest } from './message.ts';

/** How one side's malformed messages are reported: an agent gets a 4xx for its own, a 502 for its server's. */
export interface Faults {
  /** `what` continues "because …": a clause without the message's own bytes, which may be secret. */
  malformed(what: string): SallyportError;
  tooLarge(what: string): SallyportError;
  unknownVersion(): SallyportError;
  unknownCoding(): SallyportError;
}

export const REQUEST_FAULTS: Faults = {
  malformed: badRequest,
  tooLarge: (what) =>
    new SallyportError(
      'head_too_large',
      `The request was refused because ${what}. Send fewer or shorter fields.`,
    ),
  unknownVersion: () =>
    new SallyportError(
      'version_not_supported',
      'The request was refused because its version is neither HTTP/1.1 nor HTTP/1.0. Send it as HTTP/1.1.',
    ),
  unknownCoding: () =>
    new SallyportError(
      'coding_not_supported',
      'The request was refused because its Transfer-Encoding is not exactly "chunked". Send it chunked or with a Content-Length.',
    ),
};

/** The server's message could not be read without guessing. */
export function upstreamInvalid(what: string): SallyportError {
  return new SallyportError(
    'upstream_invalid',
    `The server's response was refused because ${what}. Try again; if it stays, the server is at fault.`,
  );
}

export const RESPONSE_FAULTS: Faults = {
  malformed: upstreamInvalid,
  tooLarge: upstreamInvalid,
  unknownVersion: () => upstreamInvalid('its version is neither HTTP/1.1 nor HTTP/1.0'),
  unknownCoding: () => upstreamInvalid('its Transfer-Encoding is not exactly "chunked"'),
};
