import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { HsmReport, type TokenReport } from '../channel/messages/hsm-report.ts';
import { SallyportError } from '../errors.ts';
import type { Context } from './context.ts';
import { runKeyholderProgram } from './keyholder-program.ts';
import { moduleEnvironment } from './module-environment.ts';
import { printable, printResult, properties, table } from './output.ts';

export interface CheckFlags {
  readonly pkcs11Module: string;
  readonly pkcs11Token?: string;
  readonly pkcs11Serial?: string;
  readonly pinFile?: string;
}

/** What SoftHSM is, wherever its keys are shown. */
export const SOFTWARE_NOTE =
  'SoftHSM is software: it has the interface of an HSM, not the protection of hardware. Whoever has its files and the PIN has the keys.';

/** `hsm check`. Throws invalid_argument, hsm_pin_missing, and what the module answers. */
export async function printCheck(context: Context, flags: CheckFlags): Promise<void> {
  const report = HsmReport.parse(await check(flags));
  printResult(context.json, report, () => describe(report));
  if (!report.tokens.some(({ chosen }) => chosen !== null)) process.exitCode = 1;
}

async function check(flags: CheckFlags): Promise<unknown> {
  const { pkcs11Token: token, pkcs11Serial: serial, pinFile } = flags;
  if (pinFile !== undefined && token === undefined) {
    const message = 'A PIN is tried on one token only: name it with --pkcs11-token.';
    throw new SallyportError('invalid_argument', message);
  }
  const pin = pinFile === undefined ? 'ignore' : openPin(resolve(pinFile));
  try {
    return await runKeyholderProgram({
      program: 'check',
      args: [
        ...['--module', resolve(flags.pkcs11Module)],
        ...(token === undefined ? [] : ['--token', token]),
        ...(serial === undefined ? [] : ['--slot-serial', serial]),
        ...(pin === 'ignore' ? [] : ['--try']),
      ],
      environment: moduleEnvironment(),
      descriptors: [pin],
    });
  } finally {
    if (pin !== 'ignore') closeSync(pin);
  }
}

/** Opened, not read: what is in there is for the process that logs in. */
export function openPin(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    const message = `The PIN file ${file} cannot be read: name it with --pin-file.`;
    throw new SallyportError('hsm_pin_missing', message, { cause });
  }
}

function describe({ module, tokens }: HsmReport): string {
  const about = properties([
    ['module', module.path],
    ['made by', `${module.manufacturer}, ${module.description} ${module.version}`],
    ['interface', `PKCS #11 ${module.cryptoki}`],
  ]);
  return [about, ...tokens.map(describeToken), tokens.length === 0 ? 'It shows no token.' : '']
    .filter((part) => part !== '')
    .join('\n\n');
}

function describeToken(token: TokenReport): string {
  const about = properties([
    ['token', `${token.label}, serial ${token.serial}`],
    ['made by', `${token.manufacturer}, ${token.model}, firmware ${token.firmware}`],
  ]);
  const needs = table(
    ['NEEDED', 'VERDICT', 'P50', 'REASON'],
    token.needs.map(({ what, verdict, p50, reason }) => [what, verdict, duration(p50), reason]),
    '',
  );
  const profiles = table(
    ['PROFILE', 'VERDICT', 'WRAP P50', 'UNWRAP P50', 'WHAT IT IS, OR WHY NOT'],
    token.profiles.map(({ name, verdict, wrapP50, unwrapP50, summary, reason }) => [
      name,
      verdict,
      duration(wrapP50),
      duration(unwrapP50),
      reason === '' ? summary : reason,
    ]),
    '',
  );
  const notes = [
    token.why,
    token.untried === null ? '' : `Not tried: ${token.untried}.`,
    token.software ? SOFTWARE_NOTE : '',
  ];
  return [
    about,
    needs,
    profiles,
    notes
      .filter((line) => line !== '')
      .map(printable)
      .join('\n'),
  ].join('\n\n');
}

function duration(microseconds: number | null): string {
  if (microseconds === null) return '-';
  return microseconds < 10_000 ? `${microseconds} µs` : `${Math.round(microseconds / 1000)} ms`;
}
