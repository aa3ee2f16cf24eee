import { SallyportError } from '../../errors.ts';
import type { CredentialFields } from './kind.ts';

/** Text with `{field}` placeholders, parsed once: literal bytes and field names in order. */
export class Template {
  readonly #parts: readonly (Buffer | string)[];

  /** Throws `injection_unsupported` where the text itself holds bytes that no field value may (RFC 9110, 5.5). */
  constructor(text: string) {
    const parts: (Buffer | string)[] = [];
    // Splitting on one group gives literals at even places and field names at odd ones.
    for (const [index, piece] of text.split(/\{([a-z][a-z0-9_]*)\}/).entries()) {
      if (index % 2 === 1) parts.push(piece);
      else if (piece !== '') parts.push(literal(piece));
    }
    this.#parts = parts;
  }

  /** Throws `credential_missing` where a field is absent or holds control bytes: written out, they would end the line. */
  length(fields: CredentialFields): number {
    let length = 0;
    for (const part of this.#parts) {
      if (typeof part !== 'string') {
        length += part.length;
        continue;
      }
      const value = fieldBytes(fields, part);
      for (let i = 0; i < value.length; i++) {
        const byte = value[i];
        if (byte === undefined || byte < 0x20 || byte === 0x7f) throw unfit(part, 'a control byte');
      }
      length += value.length;
    }
    return length;
  }

  write(out: Buffer, at: number, fields: CredentialFields): number {
    let offset = at;
    for (const part of this.#parts) offset += this.#bytes(part, fields).copy(out, offset);
    return offset;
  }

  /** Throws `credential_missing` where a field holds `byte`. */
  refuse(byte: number, what: string, fields: CredentialFields): void {
    for (const part of this.#parts) {
      if (typeof part === 'string' && fieldBytes(fields, part).includes(byte)) throw unfit(part, what);
    }
  }

  #bytes(part: Buffer | string, fields: CredentialFields): Buffer {
    return typeof part === 'string' ? fieldBytes(fields, part) : part;
  }

  /** The pieces in order, for a reader that writes them in another form. */
  pieces(fields: CredentialFields): Buffer[] {
    return this.#parts.map((part) => this.#bytes(part, fields));
  }
}

function literal(text: string): Buffer {
  if (/[^\x20-\x7e]/.test(text)) {
    throw new SallyportError(
      'injection_unsupported',
      "The service's definition puts text into a header that no header can hold: ask the owner to correct it.",
    );
  }
  return Buffer.from(text, 'latin1');
}

function fieldBytes(fields: CredentialFields, name: string): Buffer {
  const field = fields.get(name);
  if (!field) {
    throw new SallyportError(
      'credential_missing',
      `The credential has no field "${name}", which the service needs: ask the owner to set it again with "sallyport credential set".`,
    );
  }
  return field.value;
}

function unfit(name: string, what: string): SallyportError {
  return new SallyportError(
    'credential_missing',
    `The credential's field "${name}" holds ${what}, which cannot be sent: ask the owner to set it again with "sallyport credential set".`,
  );
}
