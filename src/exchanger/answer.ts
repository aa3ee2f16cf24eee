import { Buffer } from 'node:buffer';
import { z } from 'zod';
import type { ExchangeReply, TokenRequest } from '../channel/messages/exchanger.ts';
import { SallyportError } from '../errors.ts';
import type { Answer } from './post.ts';

const MAX_TOKEN = 16 * 1024;
/** Longer ones are asked for again after this. */
const MAX_LIFETIME_MS = 24 * 3_600_000;
/** RFC 6749, appendix A: VSCHAR, less the space that no header value may end with. */
const Token = z
  .string()
  .max(MAX_TOKEN)
  .regex(/^[\x21-\x7e]+$/);
/** Seconds; some servers send them as text. */
const Seconds = z.union([
  z.number(),
  z
    .string()
    .regex(/^\d{1,12}$/)
    .transform(Number),
]);

const Success = z.object({
  access_token: Token.optional(),
  token: Token.optional(),
  token_type: z.string().optional(),
  expires_in: Seconds.nullish(),
  /** GitHub: ISO 8601. */
  expires_at: z.string().max(64).optional().catch(undefined),
  refresh_token: Token.nullish(),
});
const Failure = z.object({
  error: z
    .string()
    .regex(/^[a-z_]{1,40}$/)
    .nullable()
    .catch(null)
    .default(null),
});

/**
 * What an answer says. `now`: ms since 1970. Tokens are the access token and, where there is one, the refresh token.
 * Throws exchange_failed where it says neither yes nor no in a form that is known.
 */
export function readAnswer(
  { status, body }: Answer,
  member: TokenRequest['member'],
  now: number,
): { reply: ExchangeReply; tokens: Buffer[] } {
  if (status === 429 || status >= 500 || status < 200 || (status >= 300 && status < 400)) {
    throw failed(`it answered ${status}`);
  }
  const json = parse(body);
  if (status >= 400) {
    const error = Failure.safeParse(json).data?.error ?? null;
    return { reply: { outcome: 'refused', status, error }, tokens: [] };
  }
  const { success, data } = Success.safeParse(json);
  const token = data?.[member];
  if (!success || token === undefined) {
    // Some say no with a 200.
    const error = Failure.safeParse(json).data?.error ?? null;
    if (error !== null) return { reply: { outcome: 'refused', status, error }, tokens: [] };
    throw failed('its answer is no token response (RFC 6749, 5.1)');
  }
  if (data.token_type !== undefined && !/^(bearer|bot|user)$/i.test(data.token_type)) {
    throw failed('its token is of a type that cannot be put into a request');
  }
  const tokens = [token, ...(data.refresh_token ? [data.refresh_token] : [])].map((text) =>
    Buffer.from(text, 'latin1'),
  );
  return { reply: { outcome: 'token', lifetimeMs: lifetime(data, token, now) }, tokens };
}

function lifetime(
  { expires_in: seconds, expires_at: at }: z.output<typeof Success>,
  token: string,
  now: number,
): number | null {
  const ends = at === undefined ? expiryOf(token) : Date.parse(at);
  const ms = typeof seconds === 'number' ? seconds * 1_000 : ends === null ? Number.NaN : ends - now;
  if (Number.isNaN(ms)) return null;
  if (ms <= 0) throw failed('its token has expired already; check the clock of this machine');
  return Math.min(Math.floor(ms), MAX_LIFETIME_MS);
}

/** When a token that is a JWT (RFC 7519) says that it expires, ms since 1970; null where it is none. */
function expiryOf(token: string): number | null {
  const payload = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(token)?.[1];
  if (payload === undefined) return null;
  const claims = z.object({ exp: z.number() }).safeParse(tryJson(Buffer.from(payload, 'base64url')));
  return claims.success ? claims.data.exp * 1_000 : null;
}

function parse(body: Buffer): unknown {
  const json = tryJson(body);
  if (json === undefined) throw failed('its answer is not JSON');
  return json;
}

function tryJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined; // without the parser's message: it quotes what may be a token
  }
}

function failed(why: string): SallyportError {
  return new SallyportError('exchange_failed', `The token endpoint cannot be used: ${why}.`);
}
