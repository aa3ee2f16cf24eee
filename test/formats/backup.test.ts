import { hash } from 'node:crypto';
import t from 'tap';
import { decodeHead, encodeHead, type Manifest, signedHead } from '../../src/backup/format.ts';
import { openToken } from '../../src/backup/seal-token.ts';

/*
 * A backup, byte for byte, written down by hand from the format's description. The signature was made by openssl with the
 * SHA-256 of "key of the vector" as the key; the token was sealed by Python's cryptography.
 */
t.setTimeout(60_000);
const INSTALLATION = '{"format":1,\n"name":"Käse"}\n';
const POINT =
  '0432fd32f2a7b681c80cd213851953bc0a0d6844bd706171023db627b27bfbc7224b0c1aa9bdcbf7c2362314b0e74d6eea8d8fc0ae8cf01387682e2bda32bc4763';
const DATABASE = '4510afc0b42a97bf76ce44e86d2ccbeede8d2925c5da8e2e2e0704c4f749de44';
const TOKEN = '1e9d7c571778f06e1e54fa7be8ae01aff71ab515cb78974725d4f1f4698c1082';
const SIGNATURE =
  'b95fe99508bfe157ba26f2fe12900c217604db33e59a77ea5bfb9ca4ef76a6d170bcbd9e2fb4ffcec6e768d41c1e9dcf79f4076bf56e12d7e7368d2f224aa600';

const MANIFEST: Manifest = {
  format: 1,
  created: '2026-11-24T00:00:00.000Z',
  version: '1.2.3',
  state: { counter: 7, digest: 'ab'.repeat(32) },
  holds: { agents: 1, credentials: 2, grants: 3 },
  auditPublicKey: POINT,
  installation: INSTALLATION,
  database: { bytes: 12, sha256: DATABASE },
  token: { bytes: 16, sha256: TOKEN },
};
const DIGEST = 'abababababababababababababababababababababababababababababababab';
const SIGNED = `sallyport backup 1
{"format":1,"created":"2026-11-24T00:00:00.000Z","version":"1.2.3","state":{"counter":7,"digest":"${DIGEST}"},"holds":{"agents":1,"credentials":2,"grants":3},"auditPublicKey":"${POINT}","installation":"{\\"format\\":1,\\n\\"name\\":\\"Käse\\"}\\n","database":{"bytes":12,"sha256":"${DATABASE}"},"token":{"bytes":16,"sha256":"${TOKEN}"}}
`;
const HEAD = Buffer.from(`${SIGNED}${SIGNATURE}\n`, 'utf8');

t.test('the head, as it is written', async (t) => {
  const signed = signedHead(MANIFEST);
  t.equal(signed.toString('utf8'), SIGNED);
  t.equal(
    hash('sha256', signed, 'hex'),
    '166e26acb27a1cf0c550471a9e4906838014c4e4922545510a5ab49ff3c8c831',
    'in UTF-8',
  );
  t.ok(encodeHead(signed, Buffer.from(SIGNATURE, 'hex')).equals(HEAD));
  t.equal(
    hash('sha256', signedHead({ ...MANIFEST, token: null }), 'hex'),
    '598d6335a4eb2970d86820eafff17dbcd8a9f57b99d3663b44b1c07cb11bac31',
    'and without a token',
  );
});

t.test('the head, as it is read: what follows it is not its concern', async (t) => {
  const file = Buffer.concat([HEAD, Buffer.from('the databasethe sealed token')]);
  t.same(decodeHead(file), { manifest: MANIFEST, length: HEAD.length });
});

t.test('nothing of it can be another byte', async (t) => {
  for (let at = 0; at < HEAD.length; at++) {
    const altered = Buffer.from(HEAD);
    altered.writeUInt8(altered.readUInt8(at) ^ 1, at);
    t.throws(() => decodeHead(altered), { code: 'backup_invalid' }, `byte ${at}`);
  }
});

t.test('the token that follows opens', async (t) => {
  const sealed =
    '000102030405060708090a0b0c0d0e0f101112131415161718191a1b294beaffadf5ea7a86e2f71e6a9fe526a9131524b3f34d9cf280de81dbb86a655b8e46fb00352a4d947d06c6b29246aa0a6b77b28f406b088e7d50cc';
  const passphrase = Buffer.from('the passphrase of a vector');
  t.same(openToken(Buffer.from(sealed, 'hex'), passphrase, INSTALLATION), [
    { name: 'pin', bytes: Buffer.from('1234\n') },
    { name: 'tokens/a/token.object', bytes: Buffer.from([0, 1, 255]) },
  ]);
});
