import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '../errors.ts';
import { encodeFields } from '../sealing/fields.ts';
import { credentialAad, INFO } from '../sealing/intake.ts';
import { seal } from '../sealing/seal.ts';
import { parseSecretObject, type SecretField } from '../sealing/secret-object.ts';
import type { Context } from './context.ts';
import { control } from './control.ts';
import { flagOf, itemsOf, partOf, textOf } from './reply.ts';
import { promptSecret, readSecret } from './secret-input.ts';

interface SetOptions {
  readonly label: string;
  readonly agent?: readonly string[];
  readonly field?: readonly string[];
  readonly file?: string;
  readonly hsm?: boolean;
}

interface Field {
  readonly key: string;
  readonly label: string;
  readonly secret: boolean;
  readonly optional: boolean;
}

export interface Service {
  readonly id: string;
  readonly fields: readonly Field[];
}

/**
 * Reads the secret, seals it to the HSM's intake key and hands the box to the vault. The clear bytes live in this
 * short process only and are wiped before anything is sent. Throws not_found, invalid_credential, integrity_failed
 * and what the vault refuses with.
 */
export async function setCredential(context: Context, id: string, options: SetOptions) {
  const service = readService(await control(context, 'GET', `/v1/services/${encodeURIComponent(id)}`));
  const publicFields = parsePublicFields(service, options.field ?? []);
  const intakeKey = await trustedIntakeKey(context);
  const secrets = readSecretFields(service, options.file);
  const box = sealFields(secrets, intakeKey, service.id, options.label);
  return await control(context, 'PUT', '/v1/credentials', {
    service: service.id,
    label: options.label,
    publicFields,
    sealed: { enc: box.enc.toString('base64'), ciphertext: box.ciphertext.toString('base64') },
    agents: options.agent ?? [],
    ...(options.hsm === true && { hsm: true }),
  });
}

export function readService(reply: unknown): Service {
  const fields = itemsOf(partOf(reply, 'fields'), 'fields').map((field) => ({
    key: textOf(field, 'key'),
    label: textOf(field, 'label'),
    secret: flagOf(field, 'secret'),
    optional: flagOf(field, 'optional'),
  }));
  return { id: textOf(reply, 'id'), fields };
}

/** The key that `init` saw in the HSM: whoever answers on the socket cannot put another in its place. */
async function trustedIntakeKey(context: Context): Promise<Buffer> {
  const publicKey = textOf(await control(context, 'GET', '/v1/intake'), 'publicKey');
  const installation: unknown = JSON.parse(readFileSync(join(context.data, 'sallyport.json'), 'utf8'));
  if (publicKey !== textOf(installation, 'intakePublicKey')) {
    throw new SallyportError(
      'integrity_failed',
      'The vault offers another intake key than the one that init found in the HSM: nothing was sealed or sent.',
    );
  }
  return Buffer.from(publicKey, 'hex');
}

function sealFields(secrets: readonly SecretField[], key: Buffer, service: string, label: string) {
  let plaintext: Buffer | undefined;
  try {
    plaintext = encodeFields(secrets);
    return seal(key, INFO, credentialAad(service, label), plaintext);
  } finally {
    plaintext?.fill(0);
    wipe(secrets);
  }
}

function readSecretFields(service: Service, file: string | undefined): SecretField[] {
  const wanted = service.fields.filter((field) => field.secret);
  if (wanted.length === 0) return [];
  if (file === undefined && process.stdin.isTTY) {
    return wanted
      .filter((field) => !field.optional)
      .map((field) => ({ name: field.key, value: promptSecret(field.label) }));
  }
  return fieldsOf(service, wanted, readSecret(file));
}

/** Takes over `input`: what it answers is all that is left to wipe. */
function fieldsOf(service: Service, wanted: readonly Field[], input: Buffer): SecretField[] {
  const object = parseSecretObject(input);
  const [only, second] = wanted;
  // One value is that, whatever it looks like (some are JSON themselves), unless it is an object of just this field.
  if (only && !second && !(object?.length === 1 && object[0]?.name === only.key)) {
    wipe(object);
    return [{ name: only.key, value: input }];
  }
  input.fill(0);
  const problem = object ? describeMismatch(wanted, object) : 'it is not one';
  if (object && problem === undefined) return object;
  wipe(object);
  const names = wanted.map((field) => `"${field.key}"${field.optional ? ' (optional)' : ''}`).join(', ');
  throw new SallyportError(
    'invalid_credential',
    `${service.id} takes a JSON object of strings with ${names} on standard input: ${problem}.`,
  );
}

function describeMismatch(wanted: readonly Field[], given: readonly SecretField[]): string | undefined {
  const names = given.map((field) => field.name);
  const missing = wanted.find((field) => !field.optional && !names.includes(field.key));
  if (missing) return `"${missing.key}" is missing`;
  if (names.some((name) => !wanted.some((field) => field.key === name)))
    return 'it has a field of another name';
  if (new Set(names).size !== names.length) return 'a field is there twice';
  return undefined;
}

/** The `--field` options. Throws invalid_argument. */
export function parsePublicFields(service: Service, given: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const pair of given) {
    const [, name, value] = /^([a-z][a-z0-9_]*)=(.*)$/s.exec(pair) ?? [];
    const field = service.fields.find((each) => each.key === name);
    if (name === undefined || value === undefined || !field) {
      const names = service.fields.filter((each) => !each.secret).map((each) => each.key);
      const known = names.length > 0 ? `it takes ${names.join(', ')}` : 'it takes none';
      throw new SallyportError(
        'invalid_argument',
        `--field is NAME=VALUE with a field of ${service.id}: ${known}.`,
      );
    }
    if (field.secret) {
      throw new SallyportError(
        'invalid_argument',
        `"${name}" of ${service.id} is a secret: give it on standard input, an argument is visible to others.`,
      );
    }
    fields[name] = value;
  }
  return fields;
}

function wipe(fields: readonly SecretField[] = []): void {
  for (const field of fields) field.value.fill(0);
}
