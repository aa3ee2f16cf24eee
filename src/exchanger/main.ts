import { Channel } from '../channel/channel.ts';
import { type ExchangeReply, ExchangeRequest } from '../channel/messages/exchanger.ts';
import { AddressGuard } from '../upstream/address-guard.ts';
import { Connector } from '../upstream/connect.ts';
import { Resolver } from '../upstream/resolve.ts';
import { createTrust } from '../upstream/trust.ts';
import { readAnswer } from './answer.ts';
import { OutboundProxy } from './outbound-proxy.ts';
import { post } from './post.ts';
import { compose } from './request.ts';

/**
 * The exchanger: asks one token endpoint once, answers the vault over descriptor 3, and ends. It exists because of what
 * it leaves behind: strings of the secrets it was given, in its own memory alone, which ends with it. A hostile endpoint
 * meets a process that has no file, no key and nobody else's secret.
 */
const CHANNEL_DESCRIPTOR = 3;
/** Whatever happens, it is gone by then. */
const LIFE_MS = 30_000;
const NOBODY = '';

setTimeout(() => process.exit(1), LIFE_MS);
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});

const channel = Channel.fromDescriptor(CHANNEL_DESCRIPTOR, async (header, parts) => {
  const asked = ExchangeRequest.parse(header);
  const secrets = new Map(asked.parts.map((name, index) => [name, (parts[index] ?? '').toString('utf8')]));
  const answer = await exchange(asked, secrets);
  return { header: answer.reply, parts: answer.tokens };
});
channel.onClose = () => process.exit(0);

async function exchange(
  { settings, timeoutMs, request }: ExchangeRequest,
  secrets: ReadonlyMap<string, string>,
): Promise<{ reply: ExchangeReply; tokens: Buffer[] }> {
  const resolver = new Resolver({
    overrides: settings.upstreamResolve,
    timeoutMs,
    maxConcurrentPerAgent: 1,
  });
  const connector = new Connector({
    guard: new AddressGuard({ allow: settings.upstreamAllow, ownListeners: settings.ownListeners }),
    resolver,
    timeoutMs,
    proxy: settings.upstreamProxy
      ? new OutboundProxy({
          ...settings.upstreamProxy,
          password: secrets.get('upstreamProxyPassword') ?? '',
          resolver,
        })
      : undefined,
  });
  const trust = createTrust({ system: settings.systemCa, extra: settings.upstreamCa });
  const url = new URL(request.url);
  const signal = AbortSignal.timeout(timeoutMs);
  const socket = await connector.connect(
    {
      host: url.hostname,
      port: url.port === '' ? 443 : Number(url.port),
      agent: NOBODY,
      secureContext: trust.secureContext,
      onSession: (session) => session.fill(0),
    },
    signal,
  );
  try {
    return readAnswer(await post(socket, compose(request, secrets), signal), request.member, Date.now());
  } finally {
    socket.destroy();
  }
}
