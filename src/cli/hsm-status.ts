import type { Context } from './context.ts';
import { control } from './control.ts';
import { SOFTWARE_NOTE } from './hsm-check.ts';
import { printResult, properties, table } from './output.ts';
import { flagOf, itemsOf, numberOf, partOf, textOf, textsOf } from './reply.ts';

/** `hsm status`: what the running vault's keyholder reports. Throws vault_not_running, and what the vault answers. */
export async function printStatus(context: Context): Promise<void> {
  const hsm = partOf(await control(context, 'GET', '/v1/status'), 'hsm');
  printResult(context.json, hsm, () => describe(hsm));
  if (textOf(hsm, 'state') !== 'ok') process.exitCode = 1;
}

function describe(hsm: unknown): string {
  const health = partOf(hsm, 'health');
  const info = partOf(hsm, 'info');
  const facts: [string, string][] = [['state', textOf(hsm, 'state')]];
  if (textOf(hsm, 'state') !== 'ok') facts.push(['because', textOf(hsm, 'error')]);
  if (health !== undefined) facts.push(['keyholder', describeHealth(health)]);
  if (info === undefined) return properties(facts);
  facts.push(
    ['module', textOf(info, 'module')],
    ['token', `${textOf(info, 'token')}, serial ${textOf(info, 'serial')}`],
    [
      'made by',
      `${textOf(info, 'manufacturer')}, ${textOf(info, 'model')}, firmware ${textOf(info, 'firmware')}`,
    ],
    ['wraps with', `${textOf(info, 'kek')}, profile ${textOf(info, 'profile')}`],
    [
      'mechanisms',
      textsOf(info, 'mechanisms')
        .map((name) => name.replace(/^CKM_/, ''))
        .join(' '),
    ],
  );
  const keys = table(
    ['KEY', 'ID', 'TYPE', 'SENSITIVE', 'EXTRACTABLE', 'NEVER EXTRACTABLE', 'MADE IN THE TOKEN'],
    itemsOf(partOf(info, 'keys'), 'keys').map((key) => [
      textOf(key, 'label'),
      textOf(key, 'id') || '-',
      textOf(key, 'type'),
      ...['sensitive', 'extractable', 'neverExtractable', 'local'].map((flag) =>
        flagOf(key, flag) ? 'yes' : 'no',
      ),
    ]),
    'No keys.',
  );
  const note = flagOf(info, 'software') ? `\n\n${SOFTWARE_NOTE}` : '';
  return `${properties(facts)}\n\n${keys}${note}`;
}

function describeHealth(health: unknown): string {
  const counts = `opened ${numberOf(health, 'opened')}×, lost ${numberOf(health, 'lost')}×`;
  const error = partOf(health, 'error');
  return typeof error === 'string'
    ? `${textOf(health, 'state')} (${counts}): ${error}`
    : `${textOf(health, 'state')} (${counts})`;
}
