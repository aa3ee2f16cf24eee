import net from 'node:net';

/** Lower-case name → addresses, in the file's order. */
export type Hosts = ReadonlyMap<string, readonly string[]>;

/** Reads hosts(5): an address, then its names; "#" begins a comment. Lines without an IP address are skipped. */
export function parseHosts(text: string): Hosts {
  const hosts = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address, ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (address === undefined || net.isIP(address) === 0 || address.includes('%')) continue;
    for (const name of names) {
      const key = name.toLowerCase().replace(/\.$/, '');
      const known = hosts.get(key);
      if (!known) hosts.set(key, [address]);
      else if (!known.includes(address)) known.push(address);
    }
  }
  return hosts;
}
