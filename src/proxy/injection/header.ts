import type { Injection } from '../../channel/messages/policy.ts';
import type { Placement } from './kind.ts';
import { Template } from './template.ts';

/** `Name: template` as the catalog writes it. */
export function header({ name, value }: Extract<Injection, { in: 'header' }>): Placement {
  const start = Buffer.from(`${name}: `, 'latin1');
  const template = new Template(value);
  return {
    name: name.toLowerCase(),
    length: (fields) => start.length + template.length(fields) + 2,
    write: (out, at, fields) => {
      const end = template.write(out, at + start.copy(out, at), fields);
      out[end] = 0x0d;
      out[end + 1] = 0x0a;
      return end + 2;
    },
    encoded: () => undefined,
  };
}
