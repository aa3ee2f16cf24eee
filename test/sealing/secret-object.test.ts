import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { parseSecretObject } from '../../src/sealing/secret-object.ts';

const parse = (text: string): Record<string, string> | undefined => {
  const fields = parseSecretObject(Buffer.from(text, 'utf8'));
  return fields && Object.fromEntries(fields.map(({ name, value }) => [name, value.toString('utf8')]));
};

t.test('an object of strings is read as JSON.parse reads it', async () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' })),
      fc.constantFrom(undefined, 2, '\t'),
      (object, space) => {
        const expected = Object.entries(object);
        const text = JSON.stringify(object, null, space);
        deepStrictEqual(Object.entries(parse(text) ?? {}).sort(), expected.sort());
      },
    ),
    { numRuns: 300 },
  );
});

t.test('escapes of every kind are resolved', async (t) => {
  t.strictSame(parse(String.raw`{"a":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00"}`), {
    a: '"\\/\b\f\n\r\tA\u00e9\u20ac\u{1f600}',
  });
});

t.test('what is no object of strings is told apart, and never throws', async (t) => {
  const texts = [
    '', 'text', '"a"', '[]', '{', '{"a"}', '{"a":1}', '{"a":null}', '{"a":{}}', '{"a":"b",}', '{"a":"b"} x',
    '{"a":"b" "c":"d"}', '{"a":"\n"}', '{"a":"\\x"}', '{"a":"\\u12g4"}', '{"a":"\\ud800"}', '{"a":"\\ud800\\u0041"}',
    '{"a":"\\udc00"}', '{"a":"b\\"}', "{'a':'b'}",
  ]; // biome-ignore format: a list
  for (const text of texts) t.equal(parse(text), undefined, text);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      parseSecretObject(Buffer.from(bytes));
    }),
  );
  fc.assert(
    fc.property(fc.json(), (text) => {
      const value: unknown = JSON.parse(text);
      const strings =
        typeof value === 'object' &&
        value !== null &&
        !Array.isArray(value) &&
        Object.values(value).every((each) => typeof each === 'string');
      if (!strings) strictEqual(parse(text), undefined);
    }),
  );
});

t.test('a value stands in memory of its own, so that wiping it leaves no copy', async (t) => {
  const [field] = parseSecretObject(Buffer.from('{"a":"x\\ny"}')) ?? [];
  t.equal(field?.value.buffer.byteLength, 3);
});
