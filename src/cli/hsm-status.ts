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
  const info = partOf(hsm, 'info');
  const facts: [string, string][] = [['state', textOf(hsm, 'state')]];
  if (textOf(hsm, 'state') !== 'ok') facts.push(['because', textOf(hsm, 'error')]);
  for (const each of itemsOf(partOf(hsm, 'keyholders'), 'keyholders')) {
    facts.push([textOf(each, 'name'), describeKeyholder(each)]);
  }
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

function describeKeyholder(keyholder: unknown): string {
  const health = partOf(keyholder, 'health');
  const error = partOf(keyholder, 'error');
  const why = typeof error === 'string' ? `: ${error}` : '';
  if (health === undefined) return `${textOf(keyholder, 'state')}${why}`;
  const verbs = Object.values(Object(partOf(health, 'verbs')));
  const total = (name: string) => verbs.reduce<number>((sum, verb) => sum + numberOf(verb, name), 0);
  const token = `opened ${numberOf(health, 'opened')}×, lost ${numberOf(health, 'lost')}×`;
  const calls = `asked ${total('asked')}×, failed ${total('failed')}×`;
  return `${textOf(keyholder, 'state')} (${token}; ${calls})${why}`;
}
