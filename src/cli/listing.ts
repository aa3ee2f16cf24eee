import { join } from 'node:path';
import { SallyportError } from '../errors.ts';
import type { PolicyRows } from '../store/schema.ts';
import { type Context, requireDataFolder } from './context.ts';
import { control } from './control.ts';

/**
 * Asks the running vault; where none runs, reads the store without changing it. What is read then has not been
 * authenticated (that takes the HSM), which is all right for looking and for nothing else.
 */
export async function listing(
  context: Context,
  path: string,
  fromStore: (rows: PolicyRows, list: typeof import('../store/list.ts')) => unknown,
): Promise<unknown> {
  requireDataFolder(context);
  try {
    return await control(context, 'GET', path);
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'vault_not_running') throw error;
  }
  const { openReadOnly } = await import('../store/open.ts');
  const { readPolicy } = await import('../store/read.ts');
  const store = await openReadOnly(join(context.data, 'vault', 'sallyport.db'));
  try {
    return fromStore(await readPolicy(store.db), await import('../store/list.ts'));
  } finally {
    store.close();
  }
}
