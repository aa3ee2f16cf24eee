import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { systemRoots } from '../../certs/bundle.ts';
import { SallyportError } from '../errors.ts';
import { parseSettings } from '../settings.ts';
import { readInstallation } from '../supervisor/data-folder.ts';
import type { ServeOptions } from '../supervisor/options.ts';
import { checkPinFile } from '../supervisor/supervisor.ts';

/** The flags of `serve`, as commander gives them. */
export interface ServeFlags {
  readonly config?: string;
  readonly proxyListen?: string;
  readonly apiListen?: string;
  readonly workers?: string;
  readonly isolation?: string;
  readonly pinFile?: string;
  readonly upstreamCa?: string;
  readonly upstreamResolve?: readonly string[];
  readonly upstreamAllow?: readonly string[];
}

/**
 * What `serve` was told: the flags over the configuration file over the defaults, and the files that they name, read.
 * Throws invalid_settings, hsm_pin_missing, and what reading the data folder throws.
 */
export async function serveOptions(data: string, flags: ServeFlags): Promise<ServeOptions> {
  const { config, workers, ...texts } = flags;
  const settings = parseSettings({
    ...(config === undefined ? {} : readConfiguration(config)),
    ...texts,
    ...(workers === undefined ? {} : { workers: Number(workers) }),
  });
  const installation = readInstallation(data);
  const upstreamCa = settings.upstreamCa === null ? '' : readCertificates(settings.upstreamCa);
  return {
    data,
    installation,
    pinFile: pinFile(flags.pinFile ?? systemdCredential() ?? settings.pinFile ?? installation.pinFile),
    workers: settings.workers,
    isolation: settings.isolation,
    proxyListen: settings.proxyListen,
    apiListen: settings.apiListen,
    upstreamCa,
    systemCa: systemRoots(),
    upstreamResolve: settings.upstreamResolve,
    upstreamAllow: settings.upstreamAllow,
    hotSecrets: settings.hotSecrets,
    limits: settings.limits,
  };
}

function readConfiguration(file: string): object {
  try {
    const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SallyportError('invalid_settings', `The configuration ${file} cannot be read: ${why}.`, {
      cause,
    });
  }
  throw new SallyportError('invalid_settings', `The configuration ${file} is not a JSON object.`);
}

function readCertificates(file: string): string {
  try {
    const pem = readFileSync(file, 'utf8');
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError(
      'invalid_settings',
      `The file ${file} of --upstream-ca cannot be read (${why}).`,
      {
        cause,
      },
    );
  }
  throw new SallyportError('invalid_settings', `The file ${file} of --upstream-ca holds no PEM certificate.`);
}

/** What systemd's LoadCredential= put there for us, if it did (systemd.exec(5)). */
function systemdCredential(): string | undefined {
  const folder = process.env.CREDENTIALS_DIRECTORY;
  if (folder === undefined || folder === '') return undefined;
  const file = join(folder, 'sallyport-pin');
  return existsSync(file) ? file : undefined;
}

function pinFile(file: string | null): string {
  if (file === null) {
    throw new SallyportError(
      'hsm_pin_missing',
      'Where is the PIN? Name its file with --pin-file, or hand it over as the systemd credential sallyport-pin.',
    );
  }
  const path = resolve(file);
  checkPinFile(path);
  return path;
}
