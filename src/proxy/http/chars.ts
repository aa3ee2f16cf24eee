/**
 * The codec's character classes as 256-entry tables, indexed by byte: a class test is one load. 1: in the class.
 */
function table(inClass: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (inClass(byte) ? 1 : 0));
}

const isAlpha = (byte: number) => (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
const isDigit = (byte: number) => byte >= 0x30 && byte <= 0x39;

/** tchar, RFC 9110, 5.6.2. */
export const TOKEN = table(
  (byte) => isAlpha(byte) || isDigit(byte) || "!#$%&'*+-.^_`|~".includes(String.fromCharCode(byte)),
);

/** field-vchar, SP and HTAB, RFC 9110, 5.5; obs-text (0x80 to 0xff) is part of it, every other control is not. */
export const FIELD_VALUE = table((byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f));

/** A request-target's bytes: visible ASCII but "#", which would begin a fragment (RFC 9112, 3.2). */
export const TARGET = table((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x23);

/** A host name's bytes as they travel in HTTP/1.1; "_" is no letter of DNS names but occurs. */
export const HOST_NAME = table(
  (byte) => isAlpha(byte) || isDigit(byte) || byte === 0x2d || byte === 0x2e || byte === 0x5f,
);

/** The value of a hexadecimal digit, 255 for every other byte. */
export const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase());
  return digit === -1 || byte > 0x7f ? 255 : digit;
});

/** ASCII lower case. */
export const LOWER = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

/** ASCII lower case with "_" as "-": CGI and WSGI servers read both as one name. */
export const FOLD = Uint8Array.from(LOWER, (byte) => (byte === 0x5f ? 0x2d : byte));

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;

/** The offset of the first byte from `from` to `end` that is no token character, or `end`. */
export function skipToken(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && TOKEN[bytes[at] ?? 0] === 1) at++;
  return at;
}

/** The offset of the first byte from `from` to `end` that cannot stand in a field value, or `end`. */
export function skipFieldValue(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && FIELD_VALUE[bytes[at] ?? 0] === 1) at++;
  return at;
}
