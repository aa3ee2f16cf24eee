import { awsEndpoint, isOverCredentials } from '../../catalog/aws.ts';
import { SallyportError } from '../../errors.ts';
import { originForm } from '../authority.ts';
import { findField } from '../http/find-field.ts';
import type { RequestHead } from '../http/message.ts';

/** For which service and region a request is signed (AWS Signature Version 4). */
export interface Scope {
  readonly region: string;
  readonly service: string;
}

/** What the agent's own signature says, whose key is none: it is replaced. */
export interface Claimed {
  readonly scope: Scope | undefined;
  /** Set where it stands in the query: the access key that it names. */
  readonly presignedBy: string | undefined;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const NAME = /^[A-Za-z0-9-]{1,64}$/;

/**
 * The scope that the request is to be signed for: the agent's own, where it is one of the host's, else the host's. `named`:
 * whether the service names this very host, not only by a wildcard. Throws bad_request, policy_denied (a host that hands
 * out credentials), injection_unsupported (another kind of signature).
 */
export function scopeOf(head: RequestHead, host: string, named: boolean): Scope {
  const { scope } = readClaim(head);
  const endpoint = awsEndpoint(host);
  if (!endpoint) {
    if (scope) return checked(scope, host, named);
    throw refused(
      `its service and region cannot be told from ${host}: sign it with any key, so that they stand in its Authorization`,
    );
  }
  if (endpoint.services.length === 0) {
    throw new SallyportError(
      'policy_denied',
      `${host} is no API of AWS but some customer's own: the request was not signed.`,
    );
  }
  const { service, region } = {
    service: endpoint.services[0] ?? '',
    region: endpoint.regions[0] ?? '',
    ...scope,
  };
  if (endpoint.services.includes(service) && endpoint.regions.includes(region))
    return checked({ service, region }, host, named);
  throw refused(
    `it is signed for ${service} in ${region}, which ${host} is not: use the host's own service and region`,
  );
}

/** Throws policy_denied for a service that hands out credentials, at a host that is not named. */
function checked(scope: Scope, host: string, named: boolean): Scope {
  if (!isOverCredentials(scope.service) || named) return scope;
  throw new SallyportError(
    'policy_denied',
    `Requests to ${host} hand out or change credentials, so it was not signed: the owner can allow that with a service that names this host.`,
  );
}

/** Reads the Authorization or the query of a request. Throws bad_request, injection_unsupported. */
export function readClaim(head: RequestHead): Claimed {
  const query = queryOf(head);
  if (/(?:^|&)X-Amz-(?:Signature|Credential)=/i.test(query)) {
    const credential = /(?:^|&)X-Amz-Credential=([^&]*)/i.exec(query)?.[1] ?? '';
    const { key, scope } = readCredential(decoded(credential));
    return { scope, presignedBy: key };
  }
  const at = findField(head.fields, 'authorization');
  if (at < 0) return { scope: undefined, presignedBy: undefined };
  const { bytes, offsets } = head.fields;
  const value = bytes.toString('latin1', offsets[4 * at + 2], offsets[4 * at + 3]);
  if (value.startsWith('AWS4-ECDSA')) {
    throw new SallyportError(
      'injection_unsupported',
      'The request is signed for several regions (AWS4-ECDSA-P256-SHA256), which Sallyport cannot do: use a host of one region.',
    );
  }
  if (!value.startsWith(`${ALGORITHM} `)) return { scope: undefined, presignedBy: undefined };
  return {
    scope: readCredential(/Credential=([^,\s]*)/.exec(value)?.[1] ?? '').scope,
    presignedBy: undefined,
  };
}

/** The query of the request-target, without "?". */
export function queryOf(head: RequestHead): string {
  const target = targetText(head);
  const mark = target.indexOf('?');
  return mark === -1 ? '' : target.slice(mark + 1);
}

export function targetText(head: RequestHead): string {
  const target = originForm(head);
  if (Buffer.isBuffer(target)) return target.toString('latin1');
  return head.bytes.toString('latin1', target.start, target.end);
}

function readCredential(text: string): { key: string; scope: Scope } {
  const [terminator, service = '', region = '', date, ...key] = text.split('/').reverse();
  if (terminator === 'aws4_request' && date && NAME.test(service) && NAME.test(region) && key.length > 0) {
    return { key: key.reverse().join('/'), scope: { service, region } };
  }
  throw refused('the scope of its signature is none (KEY/DATE/REGION/SERVICE/aws4_request)');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

function refused(why: string): SallyportError {
  return new SallyportError('bad_request', `The request was not signed, since ${why}.`);
}
