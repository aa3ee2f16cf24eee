import { exchangeOf } from '../../catalog/exchange.ts';
import type { Service } from '../../catalog/service.ts';
import { placeholders } from '../../catalog/template.ts';
import { SallyportError } from '../../errors.ts';

export interface SecretValue {
  readonly name: string;
  readonly value: Buffer;
}

const MAX_SECRET_BYTES = 16 * 1024;
const MAX_PUBLIC_CHARACTERS = 1024;

/** Throws invalid_credential unless `given` are the service's secret fields, each fit to be written into a request. */
export function checkSecrets(service: Service, given: readonly SecretValue[]): void {
  const declared = service.fields.filter((field) => field.secret);
  checkNames(
    service,
    declared,
    given.map((field) => field.name),
    'secret',
  );
  const inHeaders = headerFields(service);
  const written = writtenFields(service);
  for (const { name, value } of given) {
    const problem = valueProblem(value, { written: written.has(name), inHeader: inHeaders.has(name) });
    if (problem) throw refused(`The field ${name} of ${service.id} ${problem}`);
  }
}

/** Throws invalid_credential unless `given` are the service's public fields. */
export function checkPublicFields(service: Service, given: Readonly<Record<string, string>>): void {
  const declared = service.fields.filter((field) => !field.secret);
  checkNames(service, declared, Object.keys(given), 'public');
  for (const [name, value] of Object.entries(given)) {
    if (value === '') throw refused(`The field ${name} of ${service.id} is empty`);
    if (value.length > MAX_PUBLIC_CHARACTERS) {
      throw refused(`The field ${name} of ${service.id} is longer than ${MAX_PUBLIC_CHARACTERS} characters`);
    }
    if (/[\x00-\x1f\x7f]/.test(value))
      throw refused(`The field ${name} of ${service.id} has a control character`);
  }
}

function checkNames(
  service: Service,
  declared: readonly Service['fields'][number][],
  given: readonly string[],
  kind: string,
): void {
  const names = declared.map((field) => field.key);
  const unknown = given.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    const takes = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
    throw refused(`${service.id} has no ${kind} field ${unknown}: ${takes}`);
  }
  const missing = declared.find((field) => !field.optional && !given.includes(field.key));
  if (missing) throw refused(`${service.id} needs the ${kind} field ${missing.key} (${missing.label})`);
}

/** Fields that go into a header as they are; those of `basic` are base64 there, and may have spaces anywhere. */
function headerFields(service: Service): ReadonlySet<string> {
  return new Set(
    service.auth.inject.flatMap((inject) => (inject.in === 'header' ? placeholders(inject.value) : [])),
  );
}

/** Fields that go into a request in some form. The others may have lines: private keys that stay in the vault, certificates. */
function writtenFields(service: Service): ReadonlySet<string> {
  const written = service.auth.inject.filter((inject) => inject.in !== 'client_certificate');
  if (exchangeOf(service)) return new Set(placeholders(JSON.stringify(written)));
  const shown = certificateFields(service).filter((name) => !JSON.stringify(written).includes(`{${name}}`));
  return new Set(service.fields.map((field) => field.key).filter((name) => !shown.includes(name)));
}

/** Fields that connections show as their client certificate, with its key. */
export function certificateFields(service: Service): string[] {
  return service.auth.inject.flatMap((inject) =>
    inject.in === 'client_certificate' ? placeholders(inject.value) : [],
  );
}

/** Field content of RFC 9110, 5.5 without tabs: visible ASCII and obs-text, spaces only between. */
function valueProblem(
  value: Buffer,
  { written, inHeader }: { written: boolean; inHeader: boolean },
): string | undefined {
  if (value.length === 0) return 'is empty';
  if (value.length > MAX_SECRET_BYTES) return `is longer than ${MAX_SECRET_BYTES} bytes`;
  for (const byte of value) {
    if (!written && (byte === 0x09 || byte === 0x0a || byte === 0x0d)) continue;
    if (byte < 0x20 || byte === 0x7f) return 'has a line end or another control byte';
  }
  if (inHeader && (value[0] === 0x20 || value.at(-1) === 0x20)) return 'begins or ends with a space';
  return undefined;
}

function refused(what: string): SallyportError {
  return new SallyportError(
    'invalid_credential',
    `${what}. \`sallyport service show\` tells what is asked for.`,
  );
}
