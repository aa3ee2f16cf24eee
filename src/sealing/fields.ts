import { SallyportError } from '../errors.ts';
import { MAX_PLAINTEXT } from './suite.ts';

/**
 * A credential's secret fields as bytes, big-endian:
 *
 *   u8 number of fields · for each: u8 length of name · name · u32 length of value · value
 *
 * Not JSON: a parser of JSON makes strings, and strings cannot be wiped.
 */
const MAX_FIELDS = 32;
const NAME = /^[a-z][a-z0-9_]{0,63}$/;

/**
 * Encodes the fields into memory of its own, which the caller wipes; at most 32 fields and 64 KiB. Throws
 * invalid_credential where a name is unusable or double, or there is too much.
 */
export function encodeFields(fields: readonly { name: string; value: Uint8Array }[]): Buffer {
  let length = 1;
  const names = new Set<string>();
  for (const { name, value } of fields) {
    if (!NAME.test(name))
      throw refused(`the name of field ${names.size + 1} is not lower-case letters, digits and _`);
    if (names.has(name)) throw refused(`the field ${name} is given twice`);
    names.add(name);
    length += 1 + name.length + 4 + value.length;
  }
  if (fields.length > MAX_FIELDS) throw refused(`it has more than ${MAX_FIELDS} fields`);
  if (length > MAX_PLAINTEXT) throw refused(`its fields take more than ${MAX_PLAINTEXT} bytes`);
  const out = Buffer.allocUnsafeSlow(length);
  let at = out.writeUInt8(fields.length, 0);
  for (const { name, value } of fields) {
    at = out.writeUInt8(name.length, at);
    at += out.write(name, at, 'latin1');
    at = out.writeUInt32BE(value.length, at);
    out.set(value, at);
    at += value.length;
  }
  return out;
}

/**
 * Decodes what `encodeFields` wrote, and nothing else. Values are views of `bytes`: they die when it is wiped.
 * Throws sealed_box_invalid.
 */
export function decodeFields(bytes: Buffer): { name: string; value: Buffer }[] {
  try {
    if (bytes.length > MAX_PLAINTEXT) throw new RangeError('too long');
    const count = bytes.readUInt8(0);
    if (count > MAX_FIELDS) throw new RangeError('too many fields');
    const fields: { name: string; value: Buffer }[] = [];
    const names = new Set<string>();
    let at = 1;
    for (let i = 0; i < count; i++) {
      const nameEnd = at + 1 + bytes.readUInt8(at);
      const name = bytes.toString('latin1', at + 1, nameEnd);
      if (!NAME.test(name) || names.has(name)) throw new RangeError('unusable or repeated name');
      names.add(name);
      const valueStart = nameEnd + 4;
      at = valueStart + bytes.readUInt32BE(nameEnd);
      if (at > bytes.length) throw new RangeError('value exceeds the message');
      fields.push({ name, value: bytes.subarray(valueStart, at) });
    }
    if (at !== bytes.length) throw new RangeError('bytes after the last field');
    return fields;
  } catch {
    // Without the cause: an error about these bytes could quote one of them.
    throw new SallyportError(
      'sealed_box_invalid',
      'The sealed credential opened, but its fields are not encoded as they must be. Seal it with this version.',
    );
  }
}

function refused(why: string): SallyportError {
  return new SallyportError('invalid_credential', `The credential cannot be encoded: ${why}.`);
}
