import { join } from 'node:path';
import type { JournalFile } from '../audit/files.ts';
import type { Audited } from '../audit/outcomes.ts';
import { tailEverything, tailRequests } from '../audit/tail.ts';
import type { Context } from './context.ts';
import { note, printable } from './output.ts';

/**
 * Prints requests, oldest first, and where it is to print all the vault's own records between them: NDJSON with `--json`, else a line
 * each. Ends at Ctrl-C where it follows.
 */
export async function printTail(
  context: Context,
  options: { readonly last: number | 'all'; readonly follow: boolean },
): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const { last, follow } = options;
  const folder = join(context.data, 'journal');
  const how = {
    ...(follow ? { follow: stop.signal } : {}),
    onDamage: (file: JournalFile) =>
      note(`Part of ${file.fileName} cannot be read: "sallyport audit verify" says where.`),
  };
  const entries = last === 'all' ? tailEverything(folder, how) : tailRequests(folder, { last, ...how });
  for await (const entry of entries) {
    process.stdout.write(`${context.json ? JSON.stringify(entry) : describe(entry)}\n`);
  }
}

function describe(request: Audited): string {
  if ('type' in request) {
    const { time, type, action, subject, detail } = request;
    const details = Object.entries(detail).map(([name, value]) => `${name}=${String(value)}`);
    return printable([time, type.padEnd(12), action, subject, `(${details.join(' ')})`].join('  '));
  }
  const { time, agent, decision, reason, status, method, host, port, path, service, version } = request;
  const target = `${method} ${host}${port === 443 ? '' : `:${port}`}${path}`;
  const how =
    service === null ? reason : `${service} v${version ?? '-'}${decision === 'injected' ? '' : ` ${reason}`}`;
  return printable(
    [
      time,
      (agent ?? '-').padEnd(12),
      decision.padEnd(8),
      String(status ?? '-').padEnd(3),
      target,
      `(${how})`,
    ].join('  '),
  );
}
