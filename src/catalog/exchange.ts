import { DERIVED } from './derived.ts';
import { type PublicFields, publicField, refused } from './pin.ts';
import type { Service } from './service.ts';
import { fill, placeholders } from './template.ts';

/** How a client says who it is to a token endpoint (RFC 6749, 2.3.1; JSON as some want it). */
export type ClientAuthentication = 'basic' | 'body' | 'json-body';

/**
 * How the token that goes into requests is made of a credential. The vault makes it: workers get the token alone, and
 * the fields that it is made of stay behind. `token` is its name in the service's templates.
 */
export type Exchange = { readonly token: string } & (
  | {
      /** RFC 6749: a request to the token endpoint under the client's own credentials. */
      readonly kind: 'grant';
      readonly grant: string;
      readonly url: string;
      readonly client: readonly ClientAuthentication[];
      /** Further parameters: templates of public fields. */
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** A user name and a password in JSON, for a token. */
  | { readonly kind: 'login'; readonly url: string }
  /** RFC 7523: a JWT that the credential's key signs, for a token. `key` is the field that holds it. */
  | { readonly kind: 'jwt-bearer'; readonly url: string; readonly key: string }
  /** A GitHub App's JWT, for a token of one installation. */
  | { readonly kind: 'installation'; readonly url: string; readonly key: string }
  /** A JWT made for each request, over its method, host and path. */
  | { readonly kind: 'per-request'; readonly key: string }
  /** A JWT that the credential's key signs, which is itself the token (Snowflake's key pairs). */
  | { readonly kind: 'key-pair-jwt'; readonly key: string }
  /** A client certificate for an hour, issued under the credential's key, with a key of its own. */
  | { readonly kind: 'client-certificate'; readonly key: string }
);

/** An exchange that asks a token endpoint. */
export type AskingExchange = Extract<Exchange, { readonly url: string }>;

const JWT_BEARER = new Set(['jwt_bearer', 'urn:ietf:params:oauth:grant-type:jwt-bearer']);
/** Grants that the client's own credentials are enough for. */
const CLIENT_GRANTS = new Set(['client_credentials', 'account_credentials']);

/** The exchange of a service whose templates use a derived token, or null where it has none that Sallyport can make. */
export function exchangeOf(service: Service): Exchange | null {
  const token = derivedToken(service);
  if (token === undefined) return null;
  switch (service.auth.scheme) {
    case 'github_app':
      return installation(service, token);
    case 'gcp_service_account': {
      const url = flowOf(service).match(/-> (https:\/\/\S+)$/)?.[1];
      const key = keyField(service);
      return url !== undefined && key !== undefined ? { kind: 'jwt-bearer', token, url, key } : null;
    }
    case 'jwt_per_request': {
      const key = keyField(service);
      return key !== undefined && declares(service, 'key_name') ? { kind: 'per-request', token, key } : null;
    }
    case 'key_pair_jwt': {
      const key = keyField(service);
      return key !== undefined && declares(service, 'account') && declares(service, 'user')
        ? { kind: 'key-pair-jwt', token, key }
        : null;
    }
    case 'client_certificate': {
      const key = keyField(service);
      return key !== undefined ? { kind: 'client-certificate', token, key } : null;
    }
    default:
      return oauth2(service, token);
  }
}

/**
 * Where the exchange sends its request, public fields filled in; null: nowhere. Throws invalid_credential where that is
 * no https URL.
 */
export function exchangeUrl(service: Service, exchange: Exchange, publicFields: PublicFields): URL | null {
  if (!('url' in exchange)) return null;
  // A template that is one field alone is a URL; within one, a value is a part that cannot end it.
  const whole = /^\{[a-z][a-z0-9_]*\}$/.test(exchange.url);
  const text = fill(exchange.url, (name) => {
    const value = publicField(publicFields, name);
    if (value === undefined) throw refused(service, `the field ${name} is missing`);
    return whole ? value : encodeURIComponent(value).replaceAll('%3A', ':'); // a host may have its port
  });
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.hash !== '') {
    throw refused(service, `its fields do not make an https URL of ${exchange.url}`);
  }
  return url;
}

/** Fields that the service calls optional, and the exchange cannot do without. */
export function exchangeNeeds(service: Service, exchange: Exchange): string[] {
  const needed = exchange.kind === 'grant' && exchange.grant === 'refresh_token' ? ['refresh_token'] : [];
  return needed.filter((key) => declares(service, key));
}

function installation(service: Service, token: string): Exchange | null {
  const path = flowOf(service).match(/-> POST (\/\S+)$/)?.[1];
  const host = service.hosts[0];
  const key = keyField(service);
  if (path === undefined || host === undefined || key === undefined || !declares(service, 'app_id'))
    return null;
  const port = host.port === 443 ? '' : `:${host.port}`;
  return { kind: 'installation', token, url: `https://${host.pattern}${port}${path}`, key };
}

function oauth2(service: Service, token: string): Exchange | null {
  const { oauth2: terms } = service.auth;
  if (terms === null) return null;
  const { grant, token_url: url } = terms;
  const key = keyField(service);
  if (grant === 'password_like') {
    return declares(service, 'username') && secretFields(service).length === 1
      ? { kind: 'login', token, url }
      : null;
  }
  if (JWT_BEARER.has(grant)) return key === undefined ? null : { kind: 'jwt-bearer', token, url, key };
  if (!declares(service, 'client_id') || !declares(service, 'client_secret')) return null;
  const client = clientAuthentication(terms.client_auth);
  // Parameters are those of the authorization URL where a user consents there, of the token endpoint elsewhere.
  if (CLIENT_GRANTS.has(grant)) {
    return { kind: 'grant', token, grant, url, client, parameters: terms.extra_params ?? {} };
  }
  if (grant !== 'authorization_code' && grant !== 'refresh_token') return null;
  if (!declares(service, 'refresh_token')) return null;
  return { kind: 'grant', token, grant: 'refresh_token', url, client, parameters: {} };
}

/** What stands in `client_auth`, several with "|" between: tried in turn. RFC 6749: every server knows Basic. */
function clientAuthentication(text: string | null): ClientAuthentication[] {
  const known = (text ?? 'basic')
    .split('|')
    .filter((each) => each === 'basic' || each === 'body' || each === 'json-body');
  return known.length > 0 ? known : ['basic'];
}

/** The one derived name that the service's templates use, though no field has it. */
function derivedToken(service: Service): string | undefined {
  const declared = service.fields.map(({ key }) => key);
  const used = service.auth.inject.flatMap((each) => {
    const inject = each.in === 'exchange' ? each.then : each;
    if (inject.in === 'header' || inject.in === 'client_certificate') return placeholders(inject.value);
    return inject.in === 'basic' ? [...placeholders(inject.username), ...placeholders(inject.password)] : [];
  });
  const [token, another] = [...new Set(used)].filter(
    (name) => DERIVED.includes(name) && !declared.includes(name),
  );
  return another === undefined ? token : undefined;
}

function flowOf(service: Service): string {
  return (
    service.auth.inject
      .map((each) => (each.in === 'exchange' ? each.flow : ''))
      .find((flow) => flow !== '') ?? ''
  );
}

/** The secret field that holds the key which signs. */
function keyField(service: Service): string | undefined {
  return secretFields(service).find((key) => key === 'private_key' || key === 'key_json');
}

function secretFields(service: Service): string[] {
  return service.fields.filter(({ secret }) => secret).map(({ key }) => key);
}

function declares(service: Service, key: string): boolean {
  return service.fields.some((field) => field.key === key);
}
