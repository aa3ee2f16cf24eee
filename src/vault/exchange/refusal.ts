import type { Exchange } from '../../catalog/exchange.ts';
import { SallyportError } from '../../errors.ts';

/** Why a token endpoint said no, and what to do. */
export function refusal(
  service: string,
  kind: Exchange['kind'],
  { status, error }: { readonly status: number; readonly error: string | null },
): SallyportError {
  const said = error ?? `status ${status}`;
  return new SallyportError(
    'exchange_refused',
    `${service} gives no token (${said}), so nothing was sent: ${advice(kind, error)}`,
  );
}

function advice(kind: Exchange['kind'], error: string | null): string {
  if (error === 'invalid_grant' && kind === 'grant') {
    return 'what was authorized has expired or was revoked there. Ask the owner to authorize it anew and to set the credential again.';
  }
  if (error === 'invalid_grant') {
    return 'the key is not registered for this account, or the clock of this machine is wrong. Ask the owner to check both.';
  }
  if (error === 'invalid_scope')
    return 'a scope is not allowed. Ask the owner to correct the scopes of the credential.';
  return 'the credential is not accepted there. Ask the owner to check it and to set it again.';
}

/** What is wrong for now, with the service that it is about; other errors stay themselves. */
export function passingFailure(service: string, cause: unknown): unknown {
  if (!(cause instanceof SallyportError) || cause.code !== 'exchange_failed') return cause;
  const message = `${service} cannot be used now: no token for it could be had, so nothing was sent. ${cause.message} Try again shortly, then tell the owner.`;
  return new SallyportError('exchange_failed', message, { cause });
}
