const BLOCK = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g;

/** One certificate as PEM (RFC 7468). */
export function toPem(der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** The certificates of a PEM file, in DER and in their order; comments and other blocks are passed over. */
export function readPem(text: string): Buffer[] {
  return Array.from(text.matchAll(BLOCK), (match) => Buffer.from(match[1] ?? '', 'base64'));
}
