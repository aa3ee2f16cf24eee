/** HPKE's `info` for everything that is sealed to the intake key. Whoever changes a format here changes it. */
export const INFO = Buffer.from('sallyport intake v1', 'latin1');

/**
 * The additional data that ties a sealed credential to where it belongs, so that a box cannot be handed in for
 * another service: for each of `credential`, service id and label, its length in UTF-8 (u16, big-endian) and the bytes.
 */
export function credentialAad(service: string, label: string): Buffer {
  const parts: Buffer[] = [];
  for (const text of ['credential', service, label]) {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}
