import type { AskingExchange, ClientAuthentication, Exchange } from '../../catalog/exchange.ts';
import { exchangeUrl } from '../../catalog/exchange.ts';
import { fill } from '../../catalog/template.ts';
import type { TokenRequest, Value } from '../../channel/messages/exchanger.ts';
import type { NamedSecret } from './exchangers.ts';
import { fieldValue, firstPublic, type Material, missing, secretNamed, signedBy } from './material.ts';

/** A request to a token endpoint with the secrets that it names. */
export interface Prepared {
  readonly request: TokenRequest;
  readonly secrets: readonly NamedSecret[];
  /** Wipes what was made for it. What is of the credential is wiped with its lease. */
  wipe(): void;
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
/** How long an assertion is good for: it is used once, at once. Google and GitHub allow more. */
const ASSERTION_S = 300;
/** Clocks differ: GitHub's advice. */
const EARLIER_S = 60;
const NOTHING_MADE = (): void => {};

/**
 * Makes the request for a token. `attempt` counts from 0 through the exchange's ways to authenticate. Throws
 * exchange_refused where the credential is not fit for it, invalid_credential, hsm_unavailable.
 */
export async function prepare(
  exchange: AskingExchange,
  material: Material,
  attempt: number,
  now: number,
): Promise<Prepared> {
  const { service, publicFields } = material;
  const url = exchangeUrl(service, exchange, publicFields);
  if (url === null) throw missing(material, 'token endpoint');
  if (exchange.kind === 'grant') {
    return grant(exchange, material, exchange.client[attempt] ?? 'basic', url.href);
  }
  switch (exchange.kind) {
    case 'login':
      return login(material, url.href);
    case 'jwt-bearer':
      return jwtBearer(exchange, material, url.href, now);
    case 'installation':
      return installation(exchange, material, url.href, now);
  }
}

function grant(
  exchange: Extract<Exchange, { kind: 'grant' }>,
  material: Material,
  client: ClientAuthentication,
  url: string,
): Prepared {
  const id = fieldValue(material, 'client_id');
  const secret = fieldValue(material, 'client_secret');
  const scope = firstPublic(material, 'scope', 'scopes');
  const refresh = exchange.grant === 'refresh_token';
  const parameters = [
    { name: 'grant_type', value: { text: exchange.grant } },
    ...(refresh ? [{ name: 'refresh_token', value: fieldValue(material, 'refresh_token') }] : []),
    // A refreshed token has the scopes that its owner consented to.
    ...(scope === undefined || refresh ? [] : [{ name: 'scope', value: { text: spaced(scope) } }]),
    ...Object.entries(exchange.parameters).map(([name, template]) => ({
      name,
      value: { text: filled(template, material) },
    })),
    ...(client === 'basic'
      ? []
      : [
          { name: 'client_id', value: id },
          { name: 'client_secret', value: secret },
        ]),
  ];
  return {
    request: {
      url,
      authorization:
        client === 'basic' ? { scheme: 'basic', user: id, password: secret } : { scheme: 'none' },
      body: client === 'json-body' ? 'json' : 'form',
      parameters,
      member: 'access_token',
    },
    secrets: named(material, [id, secret, ...parameters.map(({ value }) => value)]),
    wipe: NOTHING_MADE,
  };
}

function login(material: Material, url: string): Prepared {
  const [password] = material.secrets;
  if (!password) throw missing(material, 'password');
  return {
    request: {
      url,
      authorization: { scheme: 'none' },
      body: 'json',
      parameters: [
        { name: 'username', value: fieldValue(material, 'username') },
        { name: 'password', value: { part: password.name } },
      ],
      member: 'token',
    },
    secrets: [password],
    wipe: NOTHING_MADE,
  };
}

async function jwtBearer(
  exchange: Extract<Exchange, { kind: 'jwt-bearer' }>,
  material: Material,
  url: string,
  now: number,
): Promise<Prepared> {
  const seconds = Math.floor(now / 1_000);
  const scope = firstPublic(material, 'scopes', 'scope');
  const subject = firstPublic(material, 'subject');
  const assertion = await signedBy(material, exchange, (owner) => {
    const issuer = owner ?? firstPublic(material, 'client_email', 'issuer', 'client_id');
    if (issuer === undefined) throw missing(material, 'client_email');
    return {
      iss: issuer,
      ...(subject === undefined ? {} : { sub: subject }),
      ...(scope === undefined ? {} : { scope: spaced(scope) }),
      aud: firstPublic(material, 'audience') ?? url,
      iat: seconds,
      exp: seconds + ASSERTION_S,
    };
  });
  return {
    request: {
      url,
      authorization: { scheme: 'none' },
      body: 'form',
      parameters: [
        { name: 'grant_type', value: { text: JWT_BEARER } },
        { name: 'assertion', value: { part: 'assertion' } },
      ],
      member: 'access_token',
    },
    secrets: [{ name: 'assertion', value: assertion }],
    wipe: () => assertion.fill(0),
  };
}

async function installation(
  exchange: Extract<Exchange, { kind: 'installation' }>,
  material: Material,
  url: string,
  now: number,
): Promise<Prepared> {
  const seconds = Math.floor(now / 1_000);
  const app = firstPublic(material, 'app_id');
  const claims = { iss: app, iat: seconds - EARLIER_S, exp: seconds + ASSERTION_S };
  const assertion = await signedBy(material, exchange, () => claims);
  return {
    request: {
      url,
      authorization: { scheme: 'bearer', token: { part: 'assertion' } },
      body: 'none',
      parameters: [],
      member: 'token',
    },
    secrets: [{ name: 'assertion', value: assertion }],
    wipe: () => assertion.fill(0),
  };
}

/** The secrets that these values name. */
function named(material: Material, values: readonly Value[]): NamedSecret[] {
  const names = new Set(values.flatMap((value) => ('part' in value ? [value.part] : [])));
  return [...names].map((name) => secretNamed(material, name));
}

function filled(template: string, material: Material): string {
  return fill(template, (name) => {
    const value = firstPublic(material, name);
    if (value === undefined) throw missing(material, name);
    return value;
  });
}

/** RFC 6749, 3.3: scopes are separated by one space. People write commas and lines. */
function spaced(scopes: string): string {
  return scopes
    .split(/[\s,]+/)
    .filter(Boolean)
    .join(' ');
}
