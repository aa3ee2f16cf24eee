import dns from 'node:dns';
import { WatchedFile } from './watched-file.ts';

/** One record type of one name; rejects with c-ares's error (its `code`: ENOTFOUND, ENODATA, ETIMEOUT, ...). */
export interface DnsQuery {
  resolve4(name: string): Promise<string[]>;
  resolve6(name: string): Promise<string[]>;
}

/**
 * Queries by c-ares over sockets of the event loop: no slow name holds a thread of libuv's pool of four, as
 * getaddrinfo does. c-ares reads the list of servers once, so a changed resolv.conf makes a new channel (a laptop
 * that moves to another network). One try with `timeoutMs / 3` and a second with twice that fit in `timeoutMs`.
 */
export function caresQuery(timeoutMs: number, resolvConf = '/etc/resolv.conf'): DnsQuery {
  const options = { timeout: Math.max(1, Math.floor(timeoutMs / 3)), tries: 2 };
  const fresh = (): dns.promises.Resolver => new dns.promises.Resolver(options);
  const resolver = new WatchedFile(resolvConf, fresh(), fresh);
  return {
    resolve4: (name) => resolver.get().resolve4(name),
    resolve6: (name) => resolver.get().resolve6(name),
  };
}
