import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Variables by which PKCS#11 modules find their configuration: a file or folder, or something else. */
const PATHS = [
  'SOFTHSM2_CONF',
  'YUBIHSM_PKCS11_CONF',
  'TPM2_PKCS11_STORE',
  'ChrystokiConfigurationPath', // Thales Luna
  'OPENSC_CONF',
];
const OTHERS = ['TPM2_PKCS11_TCTI', 'TPM2_PKCS11_BACKEND'];

/**
 * What a given token's module needs of our environment, paths made absolute: the processes that load it have an
 * environment of nothing else, and no home.
 */
export function moduleEnvironment(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of [...PATHS, ...OTHERS]) {
    const value = process.env[name];
    if (value !== undefined && value !== '') found[name] = PATHS.includes(name) ? resolve(value) : value;
  }
  const personal = join(homedir(), '.config', 'softhsm2', 'softhsm2.conf');
  if (found.SOFTHSM2_CONF === undefined && existsSync(personal)) found.SOFTHSM2_CONF = personal;
  return found;
}
