import { existsSync, readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join, resolve } from 'node:path';
import { systemRoots } from '../../certs/bundle.ts';
import { canonicalHost } from '../catalog/host.ts';
import { SallyportError } from '../errors.ts';
import { parseSettings, type Settings } from '../settings.ts';
import { readInstallation } from '../supervisor/data-folder.ts';
import type { ProxyTls, ServeOptions } from '../supervisor/options.ts';
import { checkPinFile } from '../supervisor/secret-files.ts';

/** The flags of `serve`, as commander gives them. */
export interface ServeFlags {
  readonly config?: string;
  readonly proxyListen?: string;
  readonly proxyTlsListen?: string;
  readonly proxyTlsCert?: string;
  readonly proxyTlsKey?: string;
  readonly proxyTlsName?: readonly string[];
  readonly apiListen?: string;
  readonly workers?: string;
  readonly keyholders?: string;
  readonly keyholderUser?: string;
  readonly isolation?: string;
  readonly pinFile?: string;
  readonly upstreamCa?: string;
  readonly upstreamResolve?: readonly string[];
  readonly upstreamAllow?: readonly string[];
  readonly upstreamProxy?: string;
  readonly upstreamProxyPasswordFile?: string;
}

/**
 * What `serve` was told: the flags over the configuration file over the defaults, and the files that they name, read.
 * Throws invalid_settings, hsm_pin_missing, and what reading the data folder throws.
 */
export async function serveOptions(data: string, flags: ServeFlags): Promise<ServeOptions> {
  const { config, workers, keyholders, proxyTlsName, ...texts } = flags;
  const settings = parseSettings({
    ...(config === undefined ? {} : readConfiguration(config)),
    ...texts,
    ...(workers === undefined ? {} : { workers: Number(workers) }),
    ...(keyholders === undefined ? {} : { keyholders: Number(keyholders) }),
    ...(proxyTlsName === undefined ? {} : { proxyTlsNames: proxyTlsName }),
  });
  const installation = readInstallation(data);
  const { upstreamCa, upstreamProxyPasswordFile: passwordFile } = settings;
  return {
    data,
    installation,
    pinFile: pinFile(flags.pinFile ?? systemdCredential() ?? settings.pinFile ?? installation.pinFile),
    workers: settings.workers,
    keyholders: settings.keyholders,
    keyholderUser: settings.keyholderUser,
    isolation: settings.isolation,
    proxyListen: settings.proxyListen,
    proxyTls: proxyTls(settings),
    apiListen: settings.apiListen,
    upstreamCa: upstreamCa === null ? '' : readCertificates(upstreamCa, '--upstream-ca'),
    systemCa: systemRoots(),
    upstreamResolve: settings.upstreamResolve,
    upstreamAllow: settings.upstreamAllow,
    upstreamProxy: settings.upstreamProxy,
    upstreamProxyPasswordFile: passwordFile && resolve(passwordFile),
    keepVersions: settings.keepVersions,
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

function proxyTls(settings: Settings): ProxyTls | null {
  const { proxyTlsListen: listen, proxyTlsCert: cert, proxyTlsKey: keyFile, proxyTlsNames } = settings;
  if (!listen) return null;
  const names = proxyTlsNames.length > 0 ? proxyTlsNames : namesOf(listen.host);
  if (cert === null || keyFile === null) return { listen, names, given: null };
  return {
    listen,
    names,
    given: { certificate: readCertificates(cert, '--proxy-tls-cert'), keyFile: resolve(keyFile) },
  };
}

/** The names and addresses by which a listener on `host` can be reached, as far as this machine knows. */
function namesOf(host: string): string[] {
  const everywhere = host === '0.0.0.0' || host === '::';
  const addresses = Object.values(networkInterfaces()).flatMap((of) => of ?? []);
  const here = everywhere ? addresses.map(({ address }) => address.replace(/%.*/, '')) : [host];
  const isLocal = everywhere || here.some((each) => /^(127\.|::1$|localhost$)/.test(each));
  const all = [...here, ...(isLocal ? ['localhost', hostname()] : [])];
  return [...new Set(all.map(canonicalHost).filter((name) => name !== null))];
}

function readCertificates(file: string, flag: string): string {
  try {
    const pem = readFileSync(file, 'utf8');
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new SallyportError('invalid_settings', `The file ${file} of ${flag} cannot be read (${why}).`, {
      cause,
    });
  }
  throw new SallyportError('invalid_settings', `The file ${file} of ${flag} holds no PEM certificate.`);
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
