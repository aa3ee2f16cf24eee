import { SallyportError } from '../errors.ts';

/** Names that lead to whoever resolves them: where that is not us, the answer cannot be looked at. */
const LOOPBACK = /(^|\.)(localhost|localhost\.localdomain|ip6-localhost|ip6-loopback)$/;

/** Names by which clouds let machines reach their metadata services. */
const METADATA: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.google.internal', // GCP
  'metadata.goog',
  'instance-data', // AWS
  'instance-data.ec2.internal',
  'metadata.tencentyun.com',
  'metadata.aliyuncs.com',
  'metadata.platformequinix.com',
]);

/** Returns where a name (A-labels, lower case) may be resolved by somebody else; throws `address_forbidden`. */
export function checkName(name: string): void {
  if (LOOPBACK.test(name)) throw forbidden(name, 'the machine that resolves it');
  if (METADATA.has(name)) throw forbidden(name, 'a cloud metadata service');
}

function forbidden(name: string, what: string): SallyportError {
  return new SallyportError(
    'address_forbidden',
    `The host ${name} is ${what}. No setting allows it; use another host.`,
  );
}
