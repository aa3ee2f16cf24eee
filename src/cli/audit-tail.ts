import { join } from 'node:path';
import type { AuditedRequest } from '../audit/outcomes.ts';
import { tailRequests } from '../audit/tail.ts';
import type { Context } from './context.ts';
import { note, printable } from './output.ts';

/** Prints requests, oldest first: NDJSON with `--json`, else a line each. Ends at Ctrl-C where it follows. */
export async function printTail(
  context: Context,
  options: { readonly last: number | 'all'; readonly follow: boolean },
): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const requests = tailRequests(join(context.data, 'journal'), {
    last: options.last,
    ...(options.follow ? { follow: stop.signal } : {}),
    onDamage: (file) => note(`Part of ${file.fileName} cannot be read: "sallyport audit verify" says where.`),
  });
  for await (const request of requests) {
    process.stdout.write(`${context.json ? JSON.stringify(request) : describe(request)}\n`);
  }
}

function describe(request: AuditedRequest): string {
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
