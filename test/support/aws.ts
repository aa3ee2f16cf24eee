import { createHash, createHmac } from 'node:crypto';
import { type Received, valuesOf } from './upstream.ts';

/**
 * Whether a request carries a signature of `secret` that AWS would take, written after its manual and apart from what
 * Sallyport signs with: paths and queries as the tests send them are canonical already.
 */
export function isSignedBy(request: Received, secret: string): boolean {
  const [authorization = '', ...more] = valuesOf(request, 'authorization');
  const match =
    /^AWS4-HMAC-SHA256 Credential=(\S+?)\/(\d{8})\/(\S+?)\/(\S+?)\/aws4_request, SignedHeaders=(\S+), Signature=(\w{64})$/.exec(
      authorization,
    );
  if (!match || more.length > 0) return false;
  const [, , day = '', region = '', service = '', signedHeaders = '', signature] = match;
  const [date = '', ...dates] = valuesOf(request, 'x-amz-date');
  if (dates.length > 0 || !date.startsWith(day) || Math.abs(Date.parse(iso(date)) - Date.now()) > 300_000)
    return false;
  const [path = '', query = ''] = request.path.split('?');
  const headers = signedHeaders
    .split(';')
    .map((name) => `${name}:${valuesOf(request, name).join(',').trim()}\n`);
  const [stated] = valuesOf(request, 'x-amz-content-sha256');
  const payload = stated ?? createHash('sha256').update(request.body).digest('hex');
  if (
    !/^STREAMING|^UNSIGNED/.test(payload) &&
    payload !== createHash('sha256').update(request.body).digest('hex')
  )
    return false;
  const sorted = query.split('&').sort().join('&');
  const canonical = [request.method, path, sorted, headers.join(''), signedHeaders, payload].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join(
    '\n',
  );
  const key = [day, region, service, 'aws4_request'].reduce<Buffer>(
    (from, part) => createHmac('sha256', from).update(part).digest(),
    Buffer.from(`AWS4${secret}`),
  );
  return createHmac('sha256', key).update(text).digest('hex') === signature;
}

function iso(date: string): string {
  return date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
}
