import { createCipheriv, createDecipheriv, hash, randomFillSync } from 'node:crypto';
import sodium from 'sodium-native';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import { invalidBackup } from './format.ts';

/** One file of the token's folder (`name` relative, "/" between), or the PIN. */
export interface TokenFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Of the entry that is the PIN file's contents; no file of a token is called so. */
export const PIN_ENTRY = 'pin';

const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';
const MAX_FILES = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;
const NAME = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+){0,3}$/;
const LEAST_PASSPHRASE = 12;

/**
 * Seals a SoftHSM token and its PIN with a passphrase: salt (16) ‖ nonce (12) ‖ AES-256-GCM of the files ‖ tag (16).
 * The key is argon2id (sodium's "moderate": 256 MiB, 3 passes) of passphrase and salt. `installation`: bound as
 * additional data, so the passphrase vouches for it too. The caller wipes passphrase and files. Throws
 * invalid_argument.
 */
export function sealToken(files: readonly TokenFile[], passphrase: Buffer, installation: string): Buffer {
  if (passphrase.length < LEAST_PASSPHRASE) {
    const message = `The passphrase is all that protects the token in this backup: give at least ${LEAST_PASSPHRASE} characters.`;
    throw new SallyportError('invalid_argument', message);
  }
  const salt = randomFillSync(Buffer.alloc(SALT_BYTES));
  const nonce = randomFillSync(Buffer.alloc(NONCE_BYTES));
  const plaintext = encode(files);
  try {
    return withKey(passphrase, salt, (key) => {
      const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(associated(installation));
      const ciphertext = cipher.update(plaintext);
      cipher.final();
      return Buffer.concat([salt, nonce, ciphertext, cipher.getAuthTag()]);
    });
  } finally {
    plaintext.fill(0);
  }
}

/** The inverse; the files' bytes are views of one memory, which the caller wipes (each). Throws backup_invalid. */
export function openToken(sealed: Buffer, passphrase: Buffer, installation: string): TokenFile[] {
  const start = SALT_BYTES + NONCE_BYTES;
  const end = sealed.length - TAG_BYTES;
  if (end < start) throw invalidBackup('its token is cut short');
  const plaintext = withKey(passphrase, sealed.subarray(0, SALT_BYTES), (key) => {
    const nonce = sealed.subarray(SALT_BYTES, start);
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(associated(installation));
    decipher.setAuthTag(sealed.subarray(end));
    const opened = decipher.update(sealed.subarray(start, end));
    try {
      decipher.final();
      return opened;
    } catch {
      opened.fill(0);
      throw new SallyportError(
        'backup_invalid',
        'The token in the backup does not open: the passphrase is another one, or the file was altered.',
      );
    }
  });
  try {
    return decode(plaintext);
  } catch (error) {
    plaintext.fill(0);
    throw error;
  }
}

function withKey<T>(passphrase: Buffer, salt: Buffer, use: (key: Buffer) => T): T {
  const key = allocateSecret(32);
  try {
    const { crypto_pwhash_OPSLIMIT_MODERATE: passes, crypto_pwhash_MEMLIMIT_MODERATE: memory } = sodium;
    sodium.crypto_pwhash(key, passphrase, salt, passes, memory, sodium.crypto_pwhash_ALG_ARGON2ID13);
    return use(key);
  } finally {
    key.fill(0);
  }
}

function associated(installation: string): Buffer {
  return Buffer.from(`sallyport token 1\n${hash('sha256', installation, 'hex')}\n`, 'latin1');
}

/** For each file, big-endian: u16 length of name · name · u32 length · bytes. */
function encode(files: readonly TokenFile[]): Buffer {
  const length = files.reduce((sum, { name, bytes }) => sum + 6 + name.length + bytes.length, 0);
  if (files.length > MAX_FILES || length > MAX_BYTES || files.some(({ name }) => !NAME.test(name))) {
    throw new SallyportError('invalid_argument', 'The token folder holds more, or other, than a token has.');
  }
  const out = allocateSecret(length);
  let at = 0;
  for (const { name, bytes } of files) {
    at = out.writeUInt16BE(name.length, at);
    at += out.write(name, at, 'latin1');
    at = out.writeUInt32BE(bytes.length, at);
    at += bytes.copy(out, at);
  }
  return out;
}

function decode(plaintext: Buffer): TokenFile[] {
  const files = new Map<string, TokenFile>();
  try {
    for (let at = 0; at < plaintext.length; ) {
      const nameEnd = at + 2 + plaintext.readUInt16BE(at);
      const name = plaintext.toString('latin1', at + 2, nameEnd);
      const start = nameEnd + 4;
      at = start + plaintext.readUInt32BE(nameEnd);
      if (!NAME.test(name) || files.has(name) || at > plaintext.length || files.size === MAX_FILES)
        throw new RangeError('not what encode wrote');
      files.set(name, { name, bytes: plaintext.subarray(start, at) });
    }
  } catch {
    throw invalidBackup('its token is not encoded as it must be'); // without the cause, which could quote a byte
  }
  return [...files.values()];
}
