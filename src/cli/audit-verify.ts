import { Buffer } from 'node:buffer';
import type { Finding } from '../audit/findings.ts';
import { verifyJournals } from '../audit/verify.ts';
import { SallyportError } from '../errors.ts';
import { readInstallation } from '../supervisor/data-folder.ts';
import type { Context } from './context.ts';
import { printable, printResult } from './output.ts';

/** Checks the journals in `folder` and prints what was found. Throws audit_broken where a chain is broken. */
export async function printVerification(context: Context, folder: string): Promise<void> {
  const auditPublicKey = Buffer.from(readInstallation(context.data).auditPublicKey, 'hex');
  const verification = await verifyJournals(folder, { auditPublicKey });
  const { files, records, problems, notes } = verification;
  const intact = problems.length === 0;
  printResult(context.json, { intact, ...verification }, () =>
    [
      ...problems.map((finding) => describe(finding)),
      ...notes.map((finding) => `note: ${describe(finding)}`),
      `${files} journals, ${records} records: ${intact ? 'the chain is whole' : `${problems.length} problems`}.`,
    ].join('\n'),
  );
  const [first] = problems;
  if (first === undefined) return;
  throw new SallyportError('audit_broken', `The audit journal is broken, first at ${describe(first)}`);
}

function describe({ file, line, kind, message }: Finding): string {
  return printable(`${file}${line > 0 ? `:${line}` : ''}: ${kind}: ${message}`);
}
