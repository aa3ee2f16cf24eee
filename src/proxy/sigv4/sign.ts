import { createHash, createHmac } from 'node:crypto';
import { nameEquals } from '../http/field-name.ts';
import type { RequestHead } from '../http/message.ts';
import { canonicalPath, canonicalQuery, canonicalValue } from './canonical.ts';
import { type Scope, targetText } from './scope.ts';

const ALGORITHM = 'AWS4-HMAC-SHA256';
const TOKEN = 'x-amz-security-token';
/** Signed where the agent sent them, beside all that begin with "x-amz-". */
const ALSO_SIGNED = ['content-type', 'content-md5', 'range'];
/** The query of a presigned URL, whose signature goes into the head instead. */
const PRESIGNED =
  /^X-Amz-(?:Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token|Content-Sha256)=/i;

export interface ToSign {
  readonly head: RequestHead;
  /** As the Host field names it. */
  readonly authority: string;
  readonly scope: Scope;
  /** Hex, or what stands for it. */
  readonly payload: string;
  /** To be said in X-Amz-Content-Sha256: the agent did not. */
  readonly sayPayload: boolean;
  readonly presigned: boolean;
  readonly accessKeyId: string;
  /** Of the day, region and service. */
  readonly signingKey: Buffer;
  readonly sessionToken: Buffer | undefined;
  /** YYYYMMDDTHHMMSSZ, of the key's day. */
  readonly date: string;
}

/** What a signature adds to a request, and what it leaves of the target where that was presigned. */
export interface Signed {
  /** Whole field lines without the session token's. */
  readonly lines: string;
  readonly signature: string;
  readonly target: Buffer | undefined;
}

/**
 * Signs a request (AWS Signature Version 4, in the head). The session token is hashed as bytes and stands in no string.
 * docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function sign(of: ToSign): Signed {
  const { head, scope, date, accessKeyId, signingKey } = of;
  const target = of.presigned ? withoutSignature(targetText(head)) : targetText(head);
  const mark = target.indexOf('?');
  const path = canonicalPath(mark === -1 ? target : target.slice(0, mark), scope.service === 's3');
  const query = canonicalQuery(mark === -1 ? '' : target.slice(mark + 1));
  const headers = signedHeaders(of);
  const names = [...headers.keys()].sort();

  const request = createHash('sha256').update(`${head.method}\n${path}\n${query}\n`);
  for (const name of names) {
    request.update(`${name}:`);
    request.update(headers.get(name) ?? '');
    request.update('\n');
  }
  request.update(`\n${names.join(';')}\n${of.payload}`);
  const credential = `${date.slice(0, 8)}/${scope.region}/${scope.service}/aws4_request`;
  const text = `${ALGORITHM}\n${date}\n${credential}\n${request.digest('hex')}`;
  const signature = createHmac('sha256', signingKey).update(text).digest('hex');
  const said = of.sayPayload ? `X-Amz-Content-Sha256: ${of.payload}\r\n` : '';
  const authorization = `${ALGORITHM} Credential=${accessKeyId}/${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return {
    lines: `X-Amz-Date: ${date}\r\n${said}Authorization: ${authorization}\r\n`,
    signature,
    target: of.presigned ? Buffer.from(target, 'latin1') : undefined,
  };
}

/** By lower-case name; fields of one name in one value, with commas. */
function signedHeaders(of: ToSign): Map<string, string | Buffer> {
  const { bytes, count, offsets } = of.head.fields;
  const found = new Map<string, string | Buffer>([
    ['host', hostOf(of)],
    ['x-amz-date', of.date],
  ]);
  if (of.sayPayload) found.set('x-amz-content-sha256', of.payload);
  if (of.sessionToken) found.set(TOKEN, of.sessionToken);
  for (let i = 0; i < count; i++) {
    const name = bytes.toString('latin1', offsets[4 * i], offsets[4 * i + 1]).toLowerCase();
    if (!(name.startsWith('x-amz-') || ALSO_SIGNED.includes(name)) || isReplaced(name)) continue;
    if (of.head.connection.includes(name)) continue; // hop-by-hop: it does not go on
    const value = canonicalValue(bytes.toString('latin1', offsets[4 * i + 2], offsets[4 * i + 3]));
    const before = found.get(name);
    found.set(name, before === undefined ? value : `${before},${value}`);
  }
  return found;
}

/** Fields that the signature sets itself: the agent's own do not go on. */
function isReplaced(name: string): boolean {
  return name === 'x-amz-date' || name === TOKEN;
}

function hostOf({ head, authority }: ToSign): string {
  const { bytes, offsets } = head.fields;
  const at = head.host;
  if (at < 0 || !nameEquals(bytes, offsets[4 * at] ?? 0, offsets[4 * at + 1] ?? 0, 'host')) return authority;
  return canonicalValue(bytes.toString('latin1', offsets[4 * at + 2], offsets[4 * at + 3]));
}

function withoutSignature(target: string): string {
  const [path = '', query = ''] = split(target);
  const kept = query.split('&').filter((pair) => pair !== '' && !PRESIGNED.test(pair));
  return kept.length === 0 ? path : `${path}?${kept.join('&')}`;
}

function split(target: string): [string, string] {
  const mark = target.indexOf('?');
  return mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark + 1)];
}
