import { DERIVED } from './derived.ts';
import { foldHeaderName, headerNameProblem } from './header-name.ts';
import { pathPatternProblem, splitPaths } from './path-pattern.ts';
import type { Service } from './service.ts';
import { literals, placeholders } from './template.ts';

/** A key at fault, and what is wrong with it. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export type ServiceInject = Service['auth']['inject'][number];

/** Which fields a template may name, and how a message calls them. */
interface Names {
  readonly names: readonly string[];
  readonly are: string;
}

/** AWS Signature Version 4. */
export const SIGV4 = 'AWS4-HMAC-SHA256';
/** No header has a space in its name. */
const CERTIFICATE = 'a client certificate';

/** What a schema cannot say: how a definition's parts refer to one another. */
export function check(service: Service): Problem[] {
  const keys = service.fields.map((field) => field.key);
  const open = service.fields.filter((field) => !field.secret);
  const openKeys = { names: open.map((field) => field.key), are: 'a declared field that is not secret' };
  const hostKeys = {
    names: open.filter((field) => !field.optional).map((field) => field.key),
    are: 'a declared field that is neither secret nor optional',
  };
  const oauth2 = service.auth.oauth2;
  const valueKeys = {
    names: [...keys, ...(oauth2 === null ? [] : DERIVED)],
    are: 'a declared field',
  };
  const hosts = service.hosts.map((host) => host.pattern);
  return [
    ...(new Set(keys).size < keys.length ? [{ path: ['fields'], message: 'two fields have one key' }] : []),
    ...service.fields.flatMap((field, i) => checkPattern(['fields', i, 'pattern'], field.pattern)),
    ...service.hosts.flatMap((host, i) => [
      ...checkTemplate(['hosts', i, 'pattern'], host.pattern, hostKeys),
      ...checkPaths(['hosts', i, 'path_prefix'], host.path_prefix),
    ]),
    ...checkInjections(['auth', 'inject'], service.auth.inject, valueKeys, openKeys),
    ...checkPlain(service),
    ...[oauth2?.authorization_url, oauth2?.token_url, ...Object.values(oauth2?.extra_params ?? {})].flatMap(
      (text) => checkTemplate(['auth', 'oauth2'], text ?? '', openKeys),
    ),
    ...service.alternatives.flatMap((other, i) => [
      ...checkInjections(['alternatives', i, 'inject'], other.inject, valueKeys, openKeys),
      ...(other.hosts ?? []).flatMap((host, j) =>
        hosts.includes(host)
          ? []
          : [{ path: ['alternatives', i, 'hosts', j], message: `${host} is not one of the service's hosts` }],
      ),
    ]),
  ];
}

function checkInjections(
  path: PropertyKey[],
  injections: readonly ServiceInject[],
  values: Names,
  open: Names,
): Problem[] {
  const places = injections.map(placeOf).filter((place) => place !== null);
  const twice = places.find((place, i) => places.indexOf(place) !== i);
  return [
    ...(twice === undefined ? [] : [{ path, message: `${twice} is written twice` }]),
    ...injections.flatMap((inject, i) => checkInjection([...path, i], inject, values, open)),
  ];
}

function checkInjection(path: PropertyKey[], inject: ServiceInject, values: Names, open: Names): Problem[] {
  const value = (key: string, text: string): Problem[] => checkTemplate([...path, key], text, values);
  switch (inject.in) {
    case 'header':
      return [...checkHeaderName([...path, 'name'], inject.name, open), ...value('value', inject.value)];
    case 'basic':
      return [
        ...checkUsername([...path, 'username'], inject.username, values),
        ...value('password', inject.password),
      ];
    case 'query':
      return [...checkTemplate([...path, 'name'], inject.name, open), ...value('value', inject.value)];
    case 'path': {
      const find = { ...values, names: [...values.names, 'placeholder'] };
      return [...checkTemplate([...path, 'find'], inject.find, find), ...value('replace', inject.replace)];
    }
    case 'client_certificate':
      return checkCertificate([...path, 'value'], inject.value, values, open);
    case 'sign':
      return checkSigning([...path, 'algorithm'], inject.algorithm, open, values);
    case 'exchange': {
      if (inject.then.in === 'sign') return []; // with what the exchange yields
      const derived = { ...values, names: [...values.names, ...DERIVED] };
      return checkInjection([...path, 'then'], inject.then, derived, open);
    }
  }
}

/** The fields of a signature have the names that AWS gives them. */
function checkSigning(path: PropertyKey[], algorithm: string, open: Names, values: Names): Problem[] {
  if (algorithm !== SIGV4) return [];
  const complete = open.names.includes('access_key_id') && values.names.includes('secret_access_key');
  const message = 'a signature needs the fields access_key_id, which is not secret, and secret_access_key';
  return complete ? [] : [{ path, message }];
}

/** A certificate is shown as it is: no text can stand beside it. */
function checkCertificate(path: PropertyKey[], template: string, values: Names, open: Names): Problem[] {
  const [name, another] = placeholders(template);
  if (name === undefined || another !== undefined || literals(template) !== '' || open.names.includes(name)) {
    return [
      { path, message: 'it must be one {field}, a secret one, which holds the certificate and its key' },
    ];
  }
  return checkTemplate(path, template, values);
}

/** A certificate is shown in a TLS handshake, of which plain http has none. */
function checkPlain({ plain_http, auth, alternatives }: Service): Problem[] {
  const injections = [...auth.inject, ...alternatives.flatMap(({ inject }) => inject)];
  const shows = injections.some((each) => placeOf(each.in === 'exchange' ? each.then : each) === CERTIFICATE);
  return plain_http && shows
    ? [{ path: ['plain_http'], message: 'a client certificate is not shown over plain http' }]
    : [];
}

function checkTemplate(path: PropertyKey[], template: string, known: Names): Problem[] {
  const unknown = placeholders(template).find((name) => !known.names.includes(name));
  if (unknown !== undefined) return [{ path, message: `{${unknown}} is not ${known.are}` }];
  const rest = literals(template);
  if (/[{}]/.test(rest)) return [{ path, message: 'it has a brace that belongs to no {field}' }];
  if (!/^[\x20-\x7e]*$/.test(rest))
    return [{ path, message: 'it has other characters than printable ASCII' }];
  return [];
}

function checkHeaderName(path: PropertyKey[], name: string, open: Names): Problem[] {
  if (placeholders(name).length > 0) return checkTemplate(path, name, open);
  const message = headerNameProblem(name);
  return message === null ? [] : [{ path, message }];
}

function checkUsername(path: PropertyKey[], username: string, values: Names): Problem[] {
  if (literals(username).includes(':')) return [{ path, message: 'it has a colon, which ends a user name' }];
  return checkTemplate(path, username, values);
}

function checkPaths(path: PropertyKey[], prefix: string | null): Problem[] {
  const messages = splitPaths(prefix).map(pathPatternProblem);
  return messages.filter((message) => message !== null).map((message) => ({ path, message }));
}

function checkPattern(path: PropertyKey[], pattern: string | null): Problem[] {
  try {
    new RegExp(pattern ?? '');
    return [];
  } catch {
    return [{ path, message: 'it is not a regular expression' }];
  }
}

/** What an injection sets, a header in one spelling or the certificate; null where it is neither or its name a template. */
function placeOf(inject: ServiceInject): string | null {
  if (inject.in === 'client_certificate') return CERTIFICATE;
  if (inject.in === 'basic') return 'authorization';
  return inject.in === 'header' && placeholders(inject.name).length === 0
    ? foldHeaderName(inject.name)
    : null;
}
