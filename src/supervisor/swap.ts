import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * Whether what is in memory may be written to a disk in the clear. Workers lock what they keep; what vault and keyholder
 * hold for the length of an operation lies where it cannot be locked page by page (ARCHITECTURE.md). `root`: where proc
 * and sys are. Returns what to tell the operator, one sentence.
 */
export function swapInTheClear(root = '/'): string | undefined {
  if (swapForbidden(root)) return undefined;
  const [, ...lines] = (read(join(root, 'proc/swaps')) ?? '').trim().split('\n');
  const open = lines.map((line) => line.split(/\s/)[0] ?? '').filter((device) => !isSafe(root, device));
  if (open.length === 0) return undefined;
  return `memory may be swapped to ${open.join(', ')}, and secrets with it: switch swap off (swapoff, or MemorySwapMax=0 of systemd), or encrypt it`;
}

/** In memory after all, or encrypted by dm-crypt. */
function isSafe(root: string, device: string): boolean {
  const name = basename(device);
  if (name.startsWith('zram')) return true;
  return read(join(root, 'sys/block', name, 'dm/uuid'))?.startsWith('CRYPT-') ?? false;
}

/** By our control group (cgroup v2) or one above it. */
function swapForbidden(root: string): boolean {
  const own = /^0::(\/.*)$/m.exec(read(join(root, 'proc/self/cgroup')) ?? '')?.[1];
  for (let group = own; group !== undefined && group !== '/'; group = dirname(group)) {
    if (read(join(root, 'sys/fs/cgroup', group, 'memory.swap.max'))?.trim() === '0') return true;
  }
  return false;
}

/** Undefined where the system does not say. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
