import { z } from 'zod';
import { SallyportError } from '../errors.ts';
import { check, type Problem } from './check.ts';
import { type HostPort, parseHostPattern } from './host.ts';
import { fill, placeholders } from './template.ts';

/**
 * A service: its hosts, how it wants its credential, and the credential's fields, in the shape of services.json.
 * What a user's file may leave out has its default here. An unknown key is an error: it may be a misspelt
 * restriction.
 */
const Text = z.string().max(4096);
const Key = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'use lower-case letters, digits and _ (at most 64)');

const Host = z
  .strictObject({
    /** Exact name, "*.x" (one label), "**.x" (one or more), or with `{field}`; ":port" may follow. */
    pattern: z.string().min(1).max(300),
    /** Narrows a shared host: a path prefix or glob, or several joined by " and "; null: every path. */
    path_prefix: Text.nullable().default(null),
    port: z.number().int().min(1).max(65535).optional(),
  })
  .transform((host, context) => {
    const written = readPattern(host.pattern);
    if (written === null) {
      const message = `"${host.pattern}" is no host; write a name, "*.name.tld", "**.name.tld" or "{field}", then ":port" if not 443`;
      context.addIssue({ code: 'custom', path: ['pattern'], message });
      return z.NEVER;
    }
    if (written.port !== null && host.port !== undefined && written.port !== host.port) {
      context.addIssue({ code: 'custom', path: ['port'], message: 'it differs from the one in the pattern' });
      return z.NEVER;
    }
    return { pattern: written.host, path_prefix: host.path_prefix, port: written.port ?? host.port ?? 443 };
  });

/** The connection to the server shows a certificate: `value` names the field that holds it and its key, in PEM. */
const ClientCertificate = z.strictObject({ in: z.literal('client_certificate'), value: Text });

const Then = z.discriminatedUnion('in', [
  z.strictObject({ in: z.literal('header'), name: Text, value: Text }),
  ClientCertificate,
  z.strictObject({ in: z.literal('sign'), algorithm: Text }),
]);

const Inject = z.discriminatedUnion('in', [
  z.strictObject({ in: z.literal('header'), name: Text, value: Text }),
  z.strictObject({ in: z.literal('basic'), username: Text, password: Text }),
  z.strictObject({ in: z.literal('query'), name: Text, value: Text }),
  z.strictObject({ in: z.literal('path'), find: Text, replace: Text }),
  ClientCertificate,
  z.strictObject({ in: z.literal('sign'), algorithm: Text, note: Text.optional() }),
  // biome-ignore lint/suspicious/noThenProperty: the catalog's key; it holds an object, which no await calls.
  z.strictObject({ in: z.literal('exchange'), flow: Text, then: Then }),
]);

const OAuth2 = z.strictObject({
  authorization_url: Text.nullable().default(null),
  token_url: Text,
  grant: Text,
  client_auth: Text.nullable().default(null),
  example_scopes: z.array(Text).default([]),
  pkce: z.union([z.boolean(), Text]).optional(),
  extra_params: z.record(Text, Text).optional(),
});

const Field = z.strictObject({
  key: Key,
  label: Text.optional(),
  /** Unless said otherwise a field is secret: what is forgotten must not be shown. */
  secret: z.boolean().default(true),
  /** A hint that warns and never blocks: providers change their formats. */
  pattern: z.string().max(512).nullable().default(null),
  prefix: Text.nullable().default(null),
  placeholder_for_agent: Text.nullable().default(null),
  optional: z.boolean().default(false),
  help: Text.optional(),
});

const WEEK_MS = 7 * 24 * 3_600_000;
const Milliseconds = z.number().int().min(100).max(WEEK_MS).nullable().default(null);

const Test = z.strictObject({
  method: Text,
  url: Text,
  headers: z.record(Text, Text).optional(),
  body: z.record(Text, z.unknown()).optional(),
  ok: z.array(z.number().int()),
  invalid: z.array(z.number().int()),
  note: Text.optional(),
});

const Definition = z.strictObject({
  id: z
    .string()
    .max(64)
    .regex(/^[a-z0-9][a-z0-9-]*$/, 'use lower-case letters, digits and -'),
  name: Text.optional(),
  category: Text.default('other'),
  hosts: z.array(Host).min(1, 'name at least one host').max(256),
  auth: z.strictObject({
    scheme: Text.optional(),
    inject: z.array(Inject).min(1, 'say at least one place for the credential').max(16),
    oauth2: OAuth2.nullable().default(null),
  }),
  fields: z.array(Field).min(1, 'declare at least one field').max(32),
  /** Whether the credential may go out over plain http too, at the ports that the hosts name. */
  plain_http: z.boolean().default(false),
  /**
   * Whether its servers are spoken to over HTTP/2. Only where they know no HTTP/1.1: over HTTP/2 the credential becomes
   * a string in the worker. Requests of gRPC go over HTTP/2 anyway.
   */
  http2: z.boolean().default(false),
  /** Of its requests; what is null here is what the settings of serve say. */
  limits: z
    .strictObject({
      /** The largest body of a request, in bytes. */
      body_bytes: z.number().int().min(0).nullable().default(null),
      /** Until there is a connection to its server. */
      connect_timeout_ms: Milliseconds,
      /** From a request's end to its answer's head. */
      head_timeout_ms: Milliseconds,
      /** Without a byte either way once the answer has begun. */
      idle_timeout_ms: Milliseconds,
      /** From a request's head to the end of its answer. */
      total_timeout_ms: Milliseconds,
    })
    .prefault({}),
  obtain: z
    .strictObject({ url: Text.nullable().default(null), steps: Text.nullable().default(null) })
    .nullable()
    .default(null),
  test: Test.nullable().default(null),
  env_hints: z.array(Text).default([]),
  docs_url: Text.nullable().default(null),
  alternatives: z
    .array(z.strictObject({ scheme: Text, hosts: z.array(Text).optional(), inject: z.array(Inject).min(1) }))
    .default([]),
  notes: z.array(Text).default([]),
  verify: z.boolean().default(false),
  verify_fields: z.array(Text).default([]),
});

const Service = Definition.transform((given) => ({
  ...given,
  name: given.name ?? given.id,
  auth: { ...given.auth, scheme: given.auth.scheme ?? given.auth.inject[0]?.in ?? 'header' },
  fields: given.fields.map((field) => ({ ...field, label: field.label ?? field.key })),
}));
export type Service = z.infer<typeof Service>;

/** The whole file, as services.json has it. */
const Document = z.strictObject({
  schema_version: z.literal(1).optional(),
  about: z.string().optional(),
  conventions: z.unknown().optional(),
  count: z.number().optional(),
  services: z.array(z.unknown()),
});

/**
 * Reads one definition, with every default filled in; `where` is the path that messages begin with ("services[1]").
 * Throws invalid_service naming the first three keys at fault.
 */
export function parseService(json: unknown, where = ''): Service {
  const parsed = Service.safeParse(json, { error: missing });
  if (!parsed.success) throw refused(where, parsed.error.issues);
  const problems = check(parsed.data);
  if (problems.length > 0) throw refused(where, problems);
  return parsed.data;
}

/**
 * Reads a file: one service, a list of them, or a whole `{"services": […]}` document. Throws invalid_service where
 * it is not JSON, too large, a service is refused, or two have one id.
 */
export function parseServices(text: string): Service[] {
  if (text.length > 8 * 1024 * 1024) throw refused('', [{ path: [], message: 'the file exceeds 8 MiB' }]);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Without the parser's message: it quotes the file, which may be the wrong one.
    throw refused('', [{ path: [], message: 'the file is not JSON' }]);
  }
  if (!Array.isArray(json) && !(typeof json === 'object' && json !== null && 'services' in json)) {
    return [parseService(json)];
  }
  const list = Array.isArray(json) ? json : readDocument(json);
  if (list.length === 0) throw refused('', [{ path: [], message: 'the file holds no service' }]);
  const services = list.map((entry, i) => parseService(entry, `services[${i}]`));
  const ids = new Set<string>();
  for (const { id } of services) {
    if (ids.has(id)) throw refused('', [{ path: [], message: `the id ${id} stands twice` }]);
    ids.add(id);
  }
  return services;
}

function readDocument(json: unknown): unknown[] {
  const parsed = Document.safeParse(json, { error: missing });
  if (!parsed.success) throw refused('', parsed.error.issues);
  return parsed.data.services;
}

/** A pattern in its canonical spelling. Where it has placeholders, what they leave must be a pattern with labels there. */
function readPattern(text: string): HostPort | null {
  if (placeholders(text).length === 0) return parseHostPattern(text);
  const port = /:[^:{}]*$/.exec(text)?.[0] ?? '';
  const host = text.slice(0, text.length - port.length).toLowerCase();
  const sample = parseHostPattern(fill(host, () => 'x') + port);
  return sample === null ? null : { host, port: sample.port };
}

function missing(issue: z.core.$ZodRawIssue): string | undefined {
  return issue.code === 'invalid_type' && issue.input === undefined ? 'it is missing' : undefined;
}

function refused(where: string, problems: readonly Problem[]): SallyportError {
  const shown = problems.slice(0, 3).map(({ path, message }) => {
    const key = path.reduce<string>((text, part) => {
      if (typeof part === 'number') return `${text}[${part}]`;
      return text === '' ? String(part) : `${text}.${String(part)}`;
    }, where);
    return key === '' ? message : `${key}: ${message}`;
  });
  const more = problems.length > 3 ? ` (and ${problems.length - 3} more)` : '';
  // Keys and patterns of the file are quoted, so that one could break the line.
  const text = `${shown.join('; ')}${more}`.replace(/[\x00-\x1f\x7f]/g, '?');
  return new SallyportError(
    'invalid_service',
    `The service is refused: ${text}. Correct it and add it again.`,
  );
}
