import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { canonicalJson, credentialBinding, rootKeyBinding } from '../../../src/vault/credentials/binding.ts';
import { decrypt, encrypt } from '../../../src/vault/credentials/envelope.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

// Computed independently, from the description of the encoding alone.
const BINDING_SHA256 = 'e8c57e10b438a97585a4a5ed37b9ee6fe27c2f22c81232f898697062663dff76';
const ROOT_BINDING =
  '0000001673616c6c79706f727420617574686f726974792076310000000764656661756c74000000056167745f31' +
  '0000002003d66dd08835c1ca3f128cceacd1f31ac94163096b20f445ae84285bc0832d72';

t.test('the cipher is AES-256-GCM, as its specification has it', async (t) => {
  // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
  const key = hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308');
  const nonce = hex('cafebabefacedbaddecaf888');
  const aad = hex('feedfacedeadbeeffeedfacedeadbeefabaddad2');
  const plaintext = hex(
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  );
  const sealed = hex(
    'cafebabefacedbaddecaf888' +
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
      '76fc6ece0f4e1768cddf8853bb2d551b',
  );
  t.same(encrypt(key, nonce, aad, plaintext), sealed);
  t.same(decrypt(key, aad, sealed), plaintext);
});

t.test('whatever is sealed opens again, and not after any change', async (t) => {
  const bytes = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((of) => Buffer.from(of));
  fc.assert(
    fc.property(
      bytes(32),
      bytes(12),
      fc.uint8Array({ maxLength: 64 }).map((of) => Buffer.from(of)),
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(),
      (key, nonce, aad, plaintext, where) => {
        const sealed = encrypt(key, nonce, aad, plaintext);
        if (!decrypt(key, aad, sealed).equals(plaintext)) return false;
        const altered = Buffer.from(sealed);
        const at = where % altered.length;
        altered.writeUInt8(altered.readUInt8(at) ^ 1, at);
        return refuses(key, aad, altered) && refuses(key, Buffer.concat([aad, Buffer.of(0)]), sealed);
      },
    ),
  );
  for (const length of [0, 11, 12, 27])
    t.ok(refuses(Buffer.alloc(32), Buffer.alloc(0), Buffer.alloc(length)), `${length} bytes`);
});

t.test('a sealed value does not open with any single bit changed', async (t) => {
  const key = Buffer.alloc(32, 7);
  const aad = Buffer.from('where it belongs');
  const sealed = encrypt(key, Buffer.alloc(12, 3), aad, Buffer.from('a secret of some length'));
  const opening: string[] = [];
  for (const [what, bytes] of Object.entries({ sealed, aad })) {
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const altered = Buffer.from(bytes);
      altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const refused = what === 'aad' ? refuses(key, altered, sealed) : refuses(key, aad, altered);
      if (!refused) opening.push(`bit ${bit} of ${what}`);
    }
  }
  t.same(opening, []);
});

function refuses(key: Buffer, aad: Buffer, sealed: Buffer): boolean {
  try {
    decrypt(key, aad, sealed);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'integrity_failed';
  }
}

const definition = {
  id: 'acme',
  hosts: [{ pattern: 'api.acme.example', path_prefix: null, port: 443 }],
  auth: { inject: [{ in: 'header', name: 'Authorization', value: 'Bearer {token}' }] },
};
const unsigned = { created_at: '', removed_at: null, generation: 0, mac: Buffer.alloc(0) };
const service = { ...unsigned, id: 'acme', definition: canonicalJson(definition) };
const credential = { id: 'crd_1', public_fields: '{"region":"eu"}' };

t.test('the binding of a credential is what it was when credentials were first sealed', async (t) => {
  // A changed encoding makes every stored credential unreadable: change the format version and migrate instead.
  const binding = credentialBinding(service, credential, 3, ['token']);
  t.equal(
    binding.toString('latin1', 0, binding.length - 36),
    '\0\0\0\x17sallyport credential v1\0\0\0\x07default\0\0\0\x05crd_1\0\0\0\x013\0\0\0\x09["token"]\0\0\0\x04acme',
  );
  t.equal(createHash('sha256').update(binding).digest('hex'), BINDING_SHA256);
  t.equal(rootKeyBinding('agt_1', Buffer.from('certificate')).toString('hex'), ROOT_BINDING);
});

t.test('everything that says where a credential goes is in its binding', async (t) => {
  const changed = (change: object) => ({
    ...service,
    definition: canonicalJson({ ...definition, ...change }),
  });
  const bindings = [
    credentialBinding(service, credential, 3, ['token']),
    credentialBinding(service, credential, 4, ['token']),
    credentialBinding(service, credential, 3, ['token', 'other']),
    credentialBinding(service, { ...credential, id: 'crd_2' }, 3, ['token']),
    credentialBinding(service, { ...credential, public_fields: '{"region":"us"}' }, 3, ['token']),
    credentialBinding({ ...service, id: 'other' }, credential, 3, ['token']),
    credentialBinding(changed({ hosts: [{ pattern: 'evil.example' }] }), credential, 3, ['token']),
    credentialBinding(changed({ auth: { inject: [] } }), credential, 3, ['token']),
  ];
  t.equal(new Set(bindings.map((binding) => binding.toString('hex'))).size, bindings.length);
  const renamed = credentialBinding(changed({ name: 'Acme, Inc.', notes: ['x'] }), credential, 3, ['token']);
  t.same(renamed, bindings[0], 'a name or a note is not');
});

t.test('equal JSON has one text, whatever the order of its keys', async (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
      const reversed = Object.fromEntries(Object.entries(object).reverse());
      return canonicalJson(object) === canonicalJson(reversed);
    }),
  );
  t.equal(canonicalJson({ b: [{ d: 1, c: null }], a: 'x' }), '{"a":"x","b":[{"c":null,"d":1}]}');
});
