import { parseArgs } from 'node:util';
import { JournalWriter } from '../audit/journal.ts';
import { Channel } from '../channel/channel.ts';
import { ToWorker, type WorkerSecret, type WorkerSettings } from '../channel/messages/worker.ts';
import { SallyportError } from '../errors.ts';
import { copySecret } from '../secret-buffer.ts';
import { AddressGuard } from '../upstream/address-guard.ts';
import { Resolver } from '../upstream/resolve.ts';
import { startHeads } from './journal/heads.ts';
import { RequestJournal } from './journal/request-journal.ts';
import { Leaves } from './leaves.ts';
import { type Listeners, listen } from './listener/listen.ts';
import { givenIdentity, type ListenerIdentity, OwnIdentity } from './listener/tls.ts';
import { Metrics } from './metrics.ts';
import { Arena } from './secrets/arena.ts';
import { HotSecrets } from './secrets/hot-secrets.ts';
import { OutboundProxy } from './upstream/outbound-proxy.ts';
import { UpstreamPool } from './upstream/pool.ts';
import { VaultClient } from './vault-client.ts';
import { Worker } from './worker.ts';

/**
 * A proxy worker. Descriptor 0 is its journal, 3 its channel to the vault, which sends the settings and the policy
 * first. It opens no file of its own and holds no key but that of its leaves.
 */
const JOURNAL_DESCRIPTOR = 0;
const CHANNEL_DESCRIPTOR = 3;
/** Promise 6: a worker that lost its vault ends after this long. */
const ORPHAN_MS = 30_000;
const DRAIN_MS = 8_000;
const LOOKUPS_PER_AGENT = 16;

const { values } = parseArgs({ options: { journal: { type: 'string' } } });
const metrics = new Metrics();
const writer = new JournalWriter(JOURNAL_DESCRIPTOR, values.journal ?? '');
let worker: Worker | undefined;
let listeners: Listeners | undefined;
let ownIdentity: OwnIdentity | undefined;
let stopHeads = (): void => {};

const channel = Channel.fromDescriptor(CHANNEL_DESCRIPTOR, async (header, parts) => {
  const message = ToWorker.parse(header);
  if (message.type === 'start') await start(message, secretsOf(message, parts));
  else if (message.type === 'snapshot') {
    worker?.replacePolicy(message.snapshot);
    await ownIdentity?.follow(message.snapshot.listenerAuthority);
  } else if (message.type === 'drain') drain();
  else if (message.type === 'metrics') return { header: metrics.report() };
  return { header: {} };
});
const vault = new VaultClient(channel);

channel.onClose = () => {
  worker?.vaultGone();
  if (!worker) process.exit(1);
  setTimeout(() => process.exit(1), ORPHAN_MS);
};
process.on('SIGTERM', drain);
process.on('SIGINT', () => {}); // Ctrl-C reaches the whole group: the supervisor decides the order

type Start = Extract<ToWorker, { type: 'start' }>;

/** The secrets of `start`, in memory of our own: parts do not outlive the first await. */
function secretsOf({ secrets }: Start, parts: readonly Buffer[]): ReadonlyMap<WorkerSecret, Buffer> {
  return new Map(secrets.map((name, index) => [name, copySecret(parts[index] ?? Buffer.alloc(0))]));
}

async function start(
  { settings, snapshot }: Start,
  secrets: ReadonlyMap<WorkerSecret, Buffer>,
): Promise<void> {
  if (worker) throw new SallyportError('internal', 'A worker was started twice.');
  const { limits, hotSecrets } = settings;
  const arena = new Arena(hotSecrets.arenaBytes);
  if (!arena.locked)
    process.stderr.write(
      `sallyport: ${arena.bytes} bytes for secrets could not be locked and may be swapped: raise RLIMIT_MEMLOCK (\`ulimit -l\`, LimitMEMLOCK=), or lower hotSecrets.arenaBytes\n`,
    );
  const resolver = new Resolver({
    overrides: settings.upstreamResolve,
    timeoutMs: limits.connectTimeoutMs,
    maxConcurrentPerAgent: LOOKUPS_PER_AGENT,
  });
  worker = new Worker(
    settings,
    {
      vault,
      leaves: new Leaves(vault, metrics),
      secrets: new HotSecrets({ count: hotSecrets.count, maxAgeMs: hotSecrets.maxAgeMs, arena }),
      journal: new RequestJournal(writer, (code) => metrics.problem(code)),
      pool: new UpstreamPool({
        connect: { timeoutMs: limits.connectTimeoutMs },
        ca: { system: settings.systemCa, extra: settings.upstreamCa },
        guard: new AddressGuard({ allow: settings.upstreamAllow, ownListeners: settings.ownListeners }),
        resolver,
        keyAgeMs: hotSecrets.maxAgeMs,
        proxy: settings.upstreamProxy
          ? new OutboundProxy({
              ...settings.upstreamProxy,
              password: secrets.get('upstreamProxyPassword'),
              resolver,
            })
          : undefined,
      }),
    },
    metrics,
    snapshot,
  );
  stopHeads = startHeads(writer, ({ file, link, hash }) => vault.head(file, link, hash));
  listeners = await listen(worker, await listenerIdentity(settings, snapshot, secrets.get('tlsKey')));
}

async function listenerIdentity(
  { tlsListen }: WorkerSettings,
  { unread, listenerAuthority }: Start['snapshot'],
  key: Buffer | undefined,
): Promise<ListenerIdentity | undefined> {
  if (!tlsListen) return undefined;
  if (tlsListen.certificate !== null && key) {
    try {
      return givenIdentity(tlsListen.certificate, key);
    } finally {
      key.fill(0);
    }
  }
  ownIdentity = new OwnIdentity(vault, listenerAuthority);
  if (unread === null) await ownIdentity.renew(); // else it follows the policy, once that is there
  return ownIdentity;
}

/** Takes no more connections, lets each tunnel end what it carries, and exits when none is left. */
function drain(): void {
  if (!worker || worker.draining) return void (worker ?? process.exit(0));
  worker.drain();
  listeners?.close();
  const end = (): void => {
    stopHeads();
    setTimeout(() => process.exit(0), 20); // lets the last head out
  };
  const timer = setInterval(() => {
    if (worker?.tunnels.size === 0) {
      clearInterval(timer);
      end();
    }
  }, 20);
  setTimeout(end, DRAIN_MS);
}
