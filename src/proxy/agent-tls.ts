import type { SecureContextOptions } from 'node:tls';

/**
 * TLS towards agents: our order of ciphers decides. AES-128 with SHA-256 comes first (as RFC 8446, 9.1 has it mandatory):
 * OpenSSL's own first choice, SHA-384, has no hardware behind it and took a tenth of a handshake's CPU time (measured).
 * For TLS 1.2 the ciphers that HTTP/2 allows (RFC 9113, 9.2.2): RSA for a listener whose certificate was given.
 */
export const AGENT_TLS: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  honorCipherOrder: true,
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
};
