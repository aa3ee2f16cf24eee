import { createECDH } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { checkPoint, pointOf } from '../../src/keyholder/point.ts';

const point = createECDH('prime256v1').generateKeys();

t.test('a point is read with and without its DER wrapping', async (t) => {
  t.same(pointOf(point), point);
  t.same(pointOf(Buffer.concat([Buffer.of(0x04, 65), point])), point);
});

t.test('anything else is refused, whatever its bytes', async (t) => {
  const refused = (bytes: Buffer) => {
    try {
      pointOf(bytes);
      return false;
    } catch (error) {
      return error instanceof SallyportError && error.code === 'hsm_refused';
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 140 }), (bytes) => refused(Buffer.from(bytes))));
  fc.assert(
    fc.property(fc.nat(64), fc.integer({ min: 1, max: 255 }), (at, difference) => {
      const changed = Buffer.from(point);
      changed[at] = (changed[at] ?? 0) ^ difference;
      return refused(changed);
    }),
  );
  t.throws(() => checkPoint(point.subarray(0, 64)), { code: 'hsm_refused' });
  t.throws(() => checkPoint(Buffer.alloc(65)), { code: 'hsm_refused' }, 'the point at infinity');
});
