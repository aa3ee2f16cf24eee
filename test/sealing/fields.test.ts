import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { decodeFields, encodeFields } from '../../src/sealing/fields.ts';

const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,63}$/);
const fields = fc.uniqueArray(fc.record({ name, value: fc.uint8Array({ maxLength: 200 }) }), {
  maxLength: 32,
  selector: (field) => field.name,
});

t.test('fields come back as they were, in order, whatever their bytes', async () => {
  fc.assert(
    fc.property(fields, (given) => {
      const back = decodeFields(encodeFields(given));
      return (
        back.length === given.length &&
        back.every((field, i) => field.name === given[i]?.name && field.value.equals(given[i].value))
      );
    }),
  );
});

t.test('values are views, so wiping the message wipes them', async (t) => {
  const bytes = encodeFields([{ name: 'token', value: Buffer.from('abc') }]);
  const [field] = decodeFields(bytes);
  bytes.fill(0);
  t.same(field?.value, Buffer.alloc(3));
});

t.test('one encoding per set of fields: what decodes encodes to the same bytes', async () => {
  const mutated = fc.tuple(fields, fc.nat(), fc.nat(255)).map(([given, at, value]) => {
    const bytes = encodeFields(given);
    bytes[at % bytes.length] = value;
    return bytes;
  });
  fc.assert(
    fc.property(
      fc.oneof(
        mutated,
        fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b)),
      ),
      (bytes) => {
        try {
          return encodeFields(decodeFields(bytes)).equals(bytes);
        } catch (error) {
          return error instanceof SallyportError && error.code === 'sealed_box_invalid';
        }
      },
    ),
    { numRuns: 2000 },
  );
});

t.test('every cut and every byte more is refused', async (t) => {
  const bytes = encodeFields([
    { name: 'username', value: Buffer.from('me') },
    { name: 'password', value: Buffer.from('secret') },
  ]);
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => decodeFields(bytes.subarray(0, length)), { code: 'sealed_box_invalid' });
  }
  t.throws(() => decodeFields(Buffer.concat([bytes, Buffer.alloc(1)])), { code: 'sealed_box_invalid' });
});

t.test('a message about a bad encoding quotes none of it', async (t) => {
  const bytes = Buffer.from([1, 6, ...Buffer.from('SECRET'), 0, 0, 0, 0]);
  try {
    decodeFields(bytes);
    t.fail('it must be refused');
  } catch (error) {
    t.notMatch(String(error), /SECRET/);
    t.ok(error instanceof Error && error.cause === undefined);
  }
});

t.test('unusable names, doubles and floods are refused before they are sealed', async (t) => {
  const value = Buffer.from('v');
  for (const bad of ['', 'Token', '1a', 'a-b', 'a'.repeat(65), 'a\n', 'é']) {
    t.throws(() => encodeFields([{ name: bad, value }]), { code: 'invalid_credential' }, JSON.stringify(bad));
  }
  t.throws(
    () =>
      encodeFields([
        { name: 'a', value },
        { name: 'a', value },
      ]),
    { code: 'invalid_credential' },
  );
  const many = Array.from({ length: 33 }, (_, i) => ({ name: `f${i}`, value }));
  t.throws(() => encodeFields(many), { code: 'invalid_credential' });
  t.throws(() => encodeFields([{ name: 'a', value: Buffer.alloc(64 * 1024) }]), {
    code: 'invalid_credential',
  });
});
