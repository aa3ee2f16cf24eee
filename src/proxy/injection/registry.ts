import { foldHeaderName, headerNameProblem } from '../../catalog/header-name.ts';
import type { Injection } from '../../channel/messages/policy.ts';
import { SallyportError } from '../../errors.ts';
import { basic } from './basic.ts';
import { header } from './header.ts';
import type { CredentialFields, Placement } from './kind.ts';
import { SIGNATURE_FIELDS } from './sigv4.ts';

/** A rule's injections, ready to write. */
export interface CompiledInjection {
  /** Lower-case names of the fields set: the agent's own of these names are dropped. */
  readonly names: readonly string[];
  /** Bytes that `write` will take. Throws `credential_missing`, `injection_unsupported`. */
  length(fields: CredentialFields): number;
  /** Writes whole field lines at `at`, after `length` for the same fields; returns the offset after them. */
  write(out: Buffer, at: number, fields: CredentialFields): number;
  /** The forms other than the fields' own bytes in which secrets travel: new buffers, which the caller wipes. */
  scrubTargets(fields: CredentialFields): Buffer[];
}

const compiled = new WeakMap<readonly Injection[], CompiledInjection>();

/**
 * Compiles a rule's `inject`, once: asked again for the same array, it returns the same object. Throws nothing: what
 * cannot be done is thrown when it is used (`injection_unsupported`), so that one odd rule hinders no other.
 */
export function compileInjection(injections: readonly Injection[]): CompiledInjection {
  let result = compiled.get(injections);
  if (!result) {
    result = compile(injections);
    compiled.set(injections, result);
  }
  return result;
}

function compile(injections: readonly Injection[]): CompiledInjection {
  try {
    if (injections.some((injection) => injection.in === 'sigv4')) return signature(injections);
    const placements = injections.filter(isWritten).map(place);
    const names = placements.map(({ name }) => name);
    for (const name of names) check(name, names);
    return {
      names,
      length: (fields) => placements.reduce((sum, placement) => sum + placement.length(fields), 0),
      write: (out, at, fields) =>
        placements.reduce((end, placement) => placement.write(out, end, fields), at),
      scrubTargets: (fields) =>
        placements.map((placement) => placement.encoded(fields)).filter((bytes) => bytes !== undefined),
    };
  } catch (error) {
    const refuse = (): never => {
      throw error;
    };
    return { names: [], length: refuse, write: refuse, scrubTargets: refuse };
  }
}

/** A signature is made for each request (exchange/signing.ts); of it as such only the fields' names are known. */
function signature(injections: readonly Injection[]): CompiledInjection {
  if (injections.length > 1)
    throw unsupported('The service signs its requests and puts in something else too');
  const refuse = (): never => {
    throw unsupported('A signature was asked for before there was a request');
  };
  return { names: SIGNATURE_FIELDS, length: refuse, write: refuse, scrubTargets: refuse };
}

/** What stands in the head by itself: a signature is of the whole, a client certificate is shown in the handshake. */
type Written = Exclude<Injection, { in: 'sigv4' | 'client_certificate' }>;

function isWritten(injection: Injection): injection is Written {
  return injection.in !== 'sigv4' && injection.in !== 'client_certificate';
}

/** The kinds of injection: one line each. */
function place(injection: Written): Placement {
  switch (injection.in) {
    case 'header':
      return header(injection);
    case 'basic':
      return basic(injection);
    case 'unsupported':
      throw unsupported(`Sallyport cannot yet put in a credential by "${injection.kind}"`);
  }
}

function check(name: string, names: readonly string[]): void {
  const problem = headerNameProblem(name);
  if (problem !== null) throw unsupported(`The service's definition is at fault: ${problem}`);
  const folded = foldHeaderName(name);
  if (names.filter((other) => foldHeaderName(other) === folded).length > 1) {
    throw unsupported(`The service's definition sets "${name}" twice`);
  }
}

function unsupported(what: string): SallyportError {
  return new SallyportError('injection_unsupported', `${what}: the request was not sent; tell the owner.`);
}
