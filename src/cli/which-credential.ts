import { SallyportError } from '../errors.ts';
import type { Context } from './context.ts';
import { control } from './control.ts';
import { itemsOf, textOf } from './reply.ts';

/** For help: what the commands that name a credential take. */
export const WHICH = 'the service, or the id of the credential: see "sallyport credential list"';

/** A credential that is there. */
export interface NamedCredential {
  readonly id: string;
  readonly service: string;
  readonly label: string;
}

/** Whether the argument is an id: no service has an underscore in its own. */
export function isId(which: string): boolean {
  return /^crd_/.test(which);
}

/** The credential of that id, or of that service and label. Throws not_found, and what the vault answers. */
export async function whichCredential(
  context: Context,
  which: string,
  label: string,
): Promise<NamedCredential> {
  const found = itemsOf(await control(context, 'GET', '/v1/credentials'), 'credentials')
    .map((each) => ({
      id: textOf(each, 'id'),
      service: textOf(each, 'service'),
      label: textOf(each, 'label'),
    }))
    .find((each) => (isId(which) ? each.id === which : each.service === which && each.label === label));
  if (found) return found;
  const what = isId(which)
    ? `No credential has the id ${which}`
    : `${which} has no credential with the label ${label}`;
  throw new SallyportError('not_found', `${what}; \`sallyport credential list\` shows them.`);
}
