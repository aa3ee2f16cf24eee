import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { canonicalHost } from './catalog/host.ts';
import { SallyportError } from './errors.ts';

/**
 * Every setting of `serve`, with its default: the shape of the file that `--config` names (JSON). A flag of the same
 * name overrides it. What `init` chose, once and for all, is in the data folder's `sallyport.json` instead.
 */

const HOST_PORT = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<name>[^:[\]]+)):(?<port>\d{1,5})$/;

/** `HOST:PORT`, an IPv6 address in brackets; port 0 lets the system choose. */
const Listener = z.string().transform((text, context) => {
  const address = hostPort(text);
  if (address) return address;
  context.addIssue({ code: 'custom', message: `"${text}" is not HOST:PORT, such as 127.0.0.1:7080` });
  return z.NEVER;
});

/** `HOST:PORT=ADDRESS:PORT`: where that host and port is dialled, whatever its name resolves to. */
const Resolve = z.string().transform((text, context) => {
  const [from, to, ...more] = text.split('=');
  const source = hostPort(from ?? '');
  const target = hostPort(to ?? '');
  const host = source && canonicalHost(source.host);
  if (more.length === 0 && source?.port && host && target?.port && isIP(target.host)) {
    return { host, port: source.port, address: target.host, toPort: target.port };
  }
  context.addIssue({
    code: 'custom',
    message: `"${text}" is not HOST:PORT=ADDRESS:PORT, such as api.example.com:443=127.0.0.1:8443`,
  });
  return z.NEVER;
});

/** A host name or an address, in its canonical spelling. */
const Name = z.string().transform((text, context) => {
  const host = canonicalHost(text);
  if (host !== null) return host;
  context.addIssue({ code: 'custom', message: `"${text}" is neither a host name nor an address` });
  return z.NEVER;
});

/** `http://[USER@]HOST:PORT`. A password has its file: it would stand in the process list. */
const OutboundProxy = z.string().transform((text, context) => {
  const match = /^http:\/\/(?:(?<user>[^:@/]+)@)?(?<at>[^@/]+)\/?$/.exec(text)?.groups;
  const at = hostPort(match?.at ?? '');
  const host = at && canonicalHost(at.host);
  const user = match?.user === undefined ? null : decode(match.user);
  if (host && at.port > 0 && user !== undefined) return { host, port: at.port, user };
  context.addIssue({
    code: 'custom',
    message: `it is not http://HOST:PORT or http://USER@HOST:PORT (a password goes into upstreamProxyPasswordFile)`,
  });
  return z.NEVER;
});

/** A block of addresses in CIDR notation. */
const Cidr = z.string().transform((text, context) => {
  const [address = '', prefix = ''] = text.split('/');
  const bits = isIP(address) === 4 ? 32 : 128;
  if (isIP(address) && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits && text === `${address}/${prefix}`)
    return text;
  context.addIssue({ code: 'custom', message: `"${text}" is not a CIDR block, such as 10.0.0.0/8` });
  return z.NEVER;
});

const count = (least: number, most: number) => z.number().int().min(least).max(most);
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const DAY = 24 * HOUR;

export const Settings = z
  .strictObject({
    /** Where agents connect. */
    proxyListen: Listener.prefault('127.0.0.1:7080'),
    /** Where agents connect with TLS; null: nowhere. */
    proxyTlsListen: Listener.nullable().prefault(null),
    /** PEM files with the listener's certificate chain and key; null: the proxy's own authority makes one. */
    proxyTlsCert: z.string().nullable().prefault(null),
    proxyTlsKey: z.string().nullable().prefault(null),
    /** Names and addresses by which agents reach that listener, for its own certificate; empty: this machine's. */
    proxyTlsNames: z.array(Name).max(100).prefault([]),
    /** Where the management API listens. */
    apiListen: Listener.prefault('127.0.0.1:7070'),
    /** Proxy workers; a core each, at most 4 unless told. */
    workers: count(1, 64).prefault(() => Math.min(availableParallelism(), 4)),
    /** Processes that talk to the HSM: more than one where it answers several at once. */
    keyholders: count(1, 16).prefault(1),
    /** The user that the keyholder runs as, where root starts serve on a given token; null: root too. */
    keyholderUser: z.string().min(1).nullable().prefault(null),
    /** How the processes are kept apart: see ARCHITECTURE.md. `auto` takes the best there is, or refuses. */
    isolation: z.enum(['auto', 'uid', 'bubblewrap', 'copy', 'none']).prefault('auto'),
    /** File with the token's PIN; null: the one that `init` noted. */
    pinFile: z.string().nullable().prefault(null),
    /** PEM file of authorities trusted for upstreams besides the system's. */
    upstreamCa: z.string().nullable().prefault(null),
    upstreamResolve: z.array(Resolve).max(1_000).prefault([]),
    /** Private address blocks that may be dialled; otherwise none is. */
    upstreamAllow: z.array(Cidr).max(1_000).prefault([]),
    /** The company's proxy through which connections go out; null: they go directly. */
    upstreamProxy: OutboundProxy.nullable().prefault(null),
    /** File with its password; null: it asks for none. */
    upstreamProxyPasswordFile: z.string().nullable().prefault(null),
    /** How many versions of a credential can still be opened, the current one included: older ones are shredded. */
    keepVersions: count(1, 100).prefault(2),
    /** Decrypted credentials that each worker keeps at hand, in locked memory. */
    hotSecrets: z
      .strictObject({
        count: count(1, 100_000).prefault(1_024),
        /** At most 5 minutes: how long a worker can go on without the HSM. */
        maxAgeMs: count(1, 300_000).prefault(300_000),
        arenaBytes: count(65_536, 64 * 1024 * 1024).prefault(2 * 1024 * 1024),
      })
      .prefault({}),
    limits: z
      .strictObject({
        /** Of a request's or response's head, in bytes and in fields; and of a request's target. */
        headBytes: count(1_024, 1024 * 1024).prefault(65_536),
        headFields: count(16, 10_000).prefault(200),
        targetBytes: count(256, 65_536).prefault(16_384),
        /** Of a request's body, unless its service says otherwise; null: none, since bodies are not held in memory. */
        bodyBytes: count(0, Number.MAX_SAFE_INTEGER).nullable().prefault(null),
        /** Time for a whole head to arrive. */
        headTimeoutMs: count(100, HOUR).prefault(15 * SECOND),
        /** Time for a TLS handshake with an agent. */
        handshakeTimeoutMs: count(100, HOUR).prefault(15 * SECOND),
        /** Time without a byte of a request's body that is due, until its answer begins. */
        bodyTimeoutMs: count(100, HOUR).prefault(120 * SECOND),
        /** Time without a request after which an idle connection is closed. */
        idleTimeoutMs: count(100, HOUR).prefault(300 * SECOND),
        /** Time without a byte either way after which a tunnel that is not terminated is closed. */
        passedIdleTimeoutMs: count(100, DAY).prefault(HOUR),
        /** Time for a connection to a server: its name, TCP and TLS. This one and the next three a service may set itself. */
        connectTimeoutMs: count(100, HOUR).prefault(10 * SECOND),
        /** Time from the request's end to the response's head: models may think for minutes. */
        responseTimeoutMs: count(100, HOUR).prefault(900 * SECOND),
        /** Time without a byte either way once the answer has begun: of a stream, a WebSocket. TCP finds dead peers sooner. */
        answerIdleTimeoutMs: count(100, 7 * DAY).prefault(4 * HOUR),
        /** Time from the request's head to the end of its answer; null: as long as it takes. */
        totalTimeoutMs: count(100, 7 * DAY)
          .nullable()
          .prefault(null),
        /** Connections that have not said yet which agent's they are, in each worker. */
        strangers: count(1, 100_000).prefault(2_048),
        /** An agent's open connections. Of this and the next two each worker gives its share: N workers give no more. */
        tunnelsPerAgent: count(1, 100_000).prefault(1_000),
        /** An agent's new connections: so many at once, then so many a second; beyond that they wait, for a second at most. */
        tunnelBurst: count(1, 1_000_000).prefault(1_000),
        tunnelsPerSecond: count(1, 1_000_000).prefault(500),
        /**
         * Certificates made for an agent, in all workers together: so many at once, then so many a minute. Each worker
         * needs one for each host that an agent visits through it, and keeps it.
         */
        leavesPerMinute: count(1, 1_000_000).prefault(600),
      })
      .prefault({}),
  })
  .refine((settings) => (settings.proxyTlsCert === null) === (settings.proxyTlsKey === null), {
    path: ['proxyTlsCert'],
    message: 'a certificate and its key are given together (proxyTlsCert, proxyTlsKey)',
  })
  .refine(({ upstreamProxy, upstreamProxyPasswordFile: file }) => file === null || upstreamProxy?.user, {
    path: ['upstreamProxyPasswordFile'],
    message: 'it needs an upstreamProxy with a user (http://USER@HOST:PORT)',
  });
export type Settings = z.output<typeof Settings>;

/** Parses settings. Throws `invalid_settings`, naming each setting that is wrong. */
export function parseSettings(input: unknown): Settings {
  const result = Settings.safeParse(input);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => {
    const at = issue.path.join('.');
    return at === '' ? issue.message : `${at}: ${issue.message}`;
  });
  throw new SallyportError('invalid_settings', `Settings cannot be used: ${issues.join('; ')}.`);
}

/** Percent-encoding undone; undefined where it is none. */
function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function hostPort(text: string): { host: string; port: number } | undefined {
  const groups = HOST_PORT.exec(text)?.groups;
  const host = groups?.ipv6 ?? groups?.name;
  const port = Number(groups?.port);
  if (host === undefined || !(port <= 65_535)) return undefined;
  if (groups?.ipv6 !== undefined && isIP(host) !== 6) return undefined;
  return { host, port };
}
