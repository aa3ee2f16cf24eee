import { Buffer } from 'node:buffer';
import t from 'tap';
import { foldedEquals, HOP_BY_HOP, isHopByHop, nameEquals } from '../../../src/proxy/http/field-name.ts';

type Compare = (bytes: Buffer, start: number, end: number, name: string) => boolean;

/** The text stands between other bytes, so that offsets matter. */
const compare = (how: Compare, text: string, name: string) =>
  how(Buffer.from(`-${text}-`, 'latin1'), 1, 1 + text.length, name);

t.test('names compare without case, and only whole', (t) => {
  t.ok(compare(nameEquals, 'Content-LENGTH', 'content-length'));
  t.notOk(compare(nameEquals, 'Content_Length', 'content-length'));
  t.notOk(compare(nameEquals, 'Content-Lengt', 'content-length'));
  t.notOk(compare(nameEquals, 'Content-Length-', 'content-length'));
  t.notOk(compare(nameEquals, '', 'x'));
  t.ok(compare(nameEquals, '', ''));
  t.notOk(compare(nameEquals, 'M', '-'), 'only letters fold: M is 0x4d, - is 0x2d');
  t.notOk(compare(nameEquals, '\xc1', 'a'));
  t.end();
});

t.test('folded names also take "_" for "-", on both sides', (t) => {
  t.ok(compare(foldedEquals, 'X_Api_Key', 'x-api-key'));
  t.ok(compare(foldedEquals, 'x-api-key', 'X_API_KEY'));
  t.ok(compare(foldedEquals, 'X-Api_Key', 'x_api-key'));
  t.notOk(compare(foldedEquals, 'X.Api.Key', 'x-api-key'));
  t.notOk(compare(foldedEquals, 'XApiKey', 'x-api-key'));
  t.end();
});

t.test('hop-by-hop fields are known in any case', (t) => {
  for (const name of HOP_BY_HOP) {
    const bytes = Buffer.from(name.toUpperCase());
    t.ok(isHopByHop(bytes, 0, bytes.length), name);
    t.notOk(isHopByHop(bytes, 0, bytes.length - 1), `${name} cut`);
  }
  for (const name of ['Host', 'Accept', 'Content-Length', 'TEE', 'X-Connection', '']) {
    const bytes = Buffer.from(name);
    t.notOk(isHopByHop(bytes, 0, bytes.length), name);
  }
  t.end();
});
