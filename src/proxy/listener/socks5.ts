import { SallyportError } from '../../errors.ts';
import { allocateSecret } from '../../secret-buffer.ts';
import { type Authority, canonicalHost } from '../http/target.ts';
import type { Identity } from './proxy-credentials.ts';

/** SOCKS5 (RFC 1928) as a server reads it, with user and password (RFC 1929) and the one command CONNECT. */

const VERSION = 5;
const LOGIN_VERSION = 1;
const USER_PASSWORD = 2;
const CONNECT = 1;
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;

/** RFC 1928, 6. */
export const REPLY = {
  succeeded: 0,
  failed: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  expired: 6,
  commandUnsupported: 7,
  addressUnsupported: 8,
} as const;
export type Reply = (typeof REPLY)[keyof typeof REPLY];

export interface Socks5Request extends Authority {
  /** Whether the client asked for an address and not for a name: it may have resolved the name itself. */
  readonly isAddress: boolean;
}

/** A message and where it ends; undefined where it is not whole yet. */
type Read<T> = { readonly end: number; readonly value: T } | undefined;

/** The methods that the client offers: whether user and password are among them. Throws bad_request. */
export function readGreeting(bytes: Buffer): Read<boolean> {
  if (bytes[0] !== undefined && bytes[0] !== VERSION) throw malformed('its version is not 5');
  const end = 2 + (bytes[1] ?? 0);
  if (bytes.length < 2 || bytes.length < end) return undefined;
  return { end, value: bytes.includes(USER_PASSWORD, 2) && bytes.indexOf(USER_PASSWORD, 2) < end };
}

/** The user's name and password, which is wiped in `bytes`. Throws bad_request. */
export function readLogin(bytes: Buffer): Read<Identity> {
  if (bytes[0] !== undefined && bytes[0] !== LOGIN_VERSION) throw malformed('its login is not of version 1');
  const nameEnd = 2 + (bytes[1] ?? 0);
  const length = bytes[nameEnd];
  if (bytes.length < 2 || length === undefined) return undefined;
  const end = nameEnd + 1 + length;
  if (bytes.length < end) return undefined;
  const token = allocateSecret(length);
  bytes.copy(token, 0, nameEnd + 1, end);
  bytes.fill(0, nameEnd + 1, end);
  return { end, value: { name: bytes.toString('utf8', 2, nameEnd), token } };
}

/**
 * Where the client wants to go. Throws method_not_supported for another command, bad_request for what is no address of
 * a host.
 */
export function readRequest(bytes: Buffer): Read<Socks5Request> {
  if (bytes[0] !== undefined && bytes[0] !== VERSION) throw malformed('its version is not 5');
  const [, command, , type, nameLength] = bytes;
  if (command !== undefined && command !== CONNECT) {
    const why = 'Of SOCKS only CONNECT is supported: use a client that needs neither BIND nor UDP.';
    throw new SallyportError('method_not_supported', why);
  }
  if (type === undefined || nameLength === undefined) return undefined;
  const start = type === NAME ? 5 : 4;
  const length = type === IPV4 ? 4 : type === IPV6 ? 16 : type === NAME ? nameLength : undefined;
  if (length === undefined) throw malformed('its kind of address is unknown');
  const end = start + length + 2;
  if (bytes.length < end) return undefined;
  const address = bytes.subarray(start, start + length);
  const host = canonicalHost(
    type === NAME ? address.toString('utf8') : type === IPV4 ? address.join('.') : hexGroups(address),
  );
  const port = bytes.readUInt16BE(end - 2);
  if (port === 0) throw malformed('it names port 0');
  return { end, value: { host, port, isAddress: type !== NAME } };
}

function hexGroups(address: Buffer): string {
  return Array.from({ length: 8 }, (_, group) => address.readUInt16BE(2 * group).toString(16)).join(':');
}

/** The answer to a greeting: user and password it is, or none of what was offered. */
export function methodAnswer(accepted: boolean): Buffer {
  return Buffer.from([VERSION, accepted ? USER_PASSWORD : 0xff]);
}

export function loginAnswer(accepted: boolean): Buffer {
  return Buffer.from([LOGIN_VERSION, accepted ? 0 : 1]);
}

/** The address bound is nobody's business: 0.0.0.0:0. */
export function requestAnswer(reply: Reply): Buffer {
  return Buffer.from([VERSION, reply, 0, IPV4, 0, 0, 0, 0, 0, 0]);
}

/** Which reply says what `error` does. */
export function replyFor(error: SallyportError): Reply {
  switch (error.code) {
    case 'method_not_supported':
      return REPLY.commandUnsupported;
    case 'bad_request':
      return REPLY.addressUnsupported;
    case 'upstream_unresolved':
      return REPLY.hostUnreachable;
    case 'upstream_timeout':
      return REPLY.expired;
    case 'upstream_unreachable':
      return unreachable(error.cause);
    default:
      return error.status === 403 ? REPLY.notAllowed : REPLY.failed;
  }
}

function unreachable(cause: unknown): Reply {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENETUNREACH') return REPLY.networkUnreachable;
  return code === 'ECONNREFUSED' ? REPLY.refused : REPLY.hostUnreachable;
}

function malformed(what: string): SallyportError {
  return new SallyportError(
    'bad_request',
    `The SOCKS message was refused because ${what}: use a client of SOCKS5 with user name and password.`,
  );
}
