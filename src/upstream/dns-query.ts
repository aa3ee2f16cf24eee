import dns from 'node:dns';
import { WatchedFile } from './watched-file.ts';

/** One record type of one name; rejects with c-ares's error (its `code`: ENOTFOUND, ENODATA, ETIMEOUT, ...). */
export interface DnsQuery {
  resolve4(name: string): Promise<string[]>;
  resolve6(name: string): Promise<string[]>;
}

/**
 * Queries by c-ares over sockets of the event loop: no slow name holds a thread of libuv's pool of four, as
 * getaddrinfo does. `servers` ("ADDRESS:PORT") are asked in place of the system's. c-ares reads those only once, so a
 * changed resolv.conf makes a new channel (a laptop that moves to another network). Two tries, the second twice as
 * long, fit into `timeoutMs`.
 */
export function caresQuery(timeoutMs: number, servers?: readonly string[]): DnsQuery {
  const fresh = (): dns.promises.Resolver => {
    const resolver = new dns.promises.Resolver({ timeout: Math.max(1, Math.floor(timeoutMs / 3)), tries: 2 });
    if (servers) resolver.setServers(servers);
    return resolver;
  };
  const current = new WatchedFile('/etc/resolv.conf', fresh(), fresh);
  return {
    resolve4: async (name) => current.get().resolve4(name),
    resolve6: async (name) => current.get().resolve6(name),
  };
}
