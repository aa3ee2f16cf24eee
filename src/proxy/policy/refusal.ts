import type { ErrorCode } from '../../errors.ts';

/** Why a request is not forwarded: one sentence on which a language model, or its owner, can act. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

/** For a host, or (`other-port`) a port of a granted host, that no grant of this agent covers. */
export function refuseDestination(
  agent: string,
  host: string,
  port: number,
  why: 'none' | 'other-port',
): Refusal {
  const what = why === 'none' ? host : `Port ${port} of ${host}`;
  return {
    code: 'host_not_granted',
    message: `${what} is not granted to this agent, so nothing was sent; no key is at fault, do not rotate any: ask the owner to run "sallyport grant add ${agent} SERVICE" for the service on ${host}${why === 'none' ? '' : ` that uses port ${port}`}.`,
  };
}

/** The host is granted, but its credential goes out over TLS alone. */
export function refusePlain(host: string): Refusal {
  return {
    code: 'policy_denied',
    message: `The credential for ${host} does not go out over plain http, so nothing was sent; the key is healthy: ask for the https:// address.`,
  };
}

/** The host is granted, but not this method and path. */
export function refuseRequest(
  agent: string,
  service: string,
  method: string,
  host: string,
  path: string,
): Refusal {
  return {
    code: 'policy_denied',
    message: `${shown(method)} ${shown(path)} on ${host} is outside what this agent is granted there, so nothing was sent; the key is healthy: ask the owner to widen it with "sallyport grant add ${agent} ${service} --method METHOD --path PREFIX".`,
  };
}

export function refuseAmbiguousPath(host: string): Refusal {
  return {
    code: 'policy_denied',
    message: `The path can be read in two ways and the grant on ${host} depends on it, so nothing was sent; the key is healthy: send the path in its plain form, without dot segments, double slashes, backslashes or encoded separators.`,
  };
}

/** The request is to where the service gives out its tokens. */
export function refuseTokenEndpoint(service: string): Refusal {
  return {
    code: 'policy_denied',
    message: `That is where ${service} gives out tokens, which the proxy asks for itself, so nothing was sent; the key is healthy: leave the login out and send the request that you mean.`,
  };
}

export function refuseTie(host: string): Refusal {
  return {
    code: 'policy_denied',
    message: `Two credentials match this request to ${host}, so nothing was sent; both keys are healthy: ask the owner to narrow the grants by method or path, or to remove one.`,
  };
}

/** For everybody, before it is known who they are: so `why` is a code and no more. */
export function refuseUnread(why: string): Refusal {
  return {
    code: 'hsm_unavailable',
    message: `The vault has just been started and cannot use its HSM yet (${why}), so nothing was sent; no key is at fault, do not rotate any: try again soon, and where it lasts ask the owner to run "sallyport status".`,
  };
}

/** `what`: the policy, the agent, or the rule whose stored rows failed authentication. */
export function refuseIntegrity(what: string): Refusal {
  return {
    code: 'integrity_failed',
    message: `${what} was changed outside Sallyport and is not trusted, so nothing was sent; no key is at fault, do not rotate any: ask the owner to run "sallyport status".`,
  };
}

/** An agent's own text, cut to a length that a sentence can hold, and to printable ASCII. */
function shown(text: string): string {
  const printable = text.replace(/[^\x21-\x7e]/g, '?');
  return printable.length > 80 ? `${printable.slice(0, 80)}...` : printable;
}
