import { SallyportError } from '../../errors.ts';
import { credentialAad, INFO } from '../../sealing/intake.ts';
import { open } from '../../sealing/open.ts';
import type { KeyholderClient } from '../keyholder.ts';

/** A credential's secret fields as whoever set it sealed them: HPKE, to the intake key (src/sealing). */
export interface SealedBox {
  readonly service: string;
  readonly label: string;
  readonly enc: Buffer;
  readonly ciphertext: Buffer;
}

/** Opens the box into memory of its own, which the caller wipes. Throws sealed_box_invalid, hsm_unavailable. */
export async function openBox(
  keyholder: KeyholderClient,
  { service, label, enc, ciphertext }: SealedBox,
): Promise<Buffer> {
  const intakeKey = keyholder.intakePublicKey();
  const shared = await keyholder.agree(enc).catch((cause: unknown) => {
    if (!(cause instanceof SallyportError) || cause.code !== 'hsm_refused') throw cause;
    const message =
      'The sealed credential cannot be opened: it was not sealed to a point of P-256. Seal anew.';
    throw new SallyportError('sealed_box_invalid', message, { cause });
  });
  try {
    return open(enc, shared, intakeKey, INFO, credentialAad(service, label), ciphertext);
  } finally {
    shared.fill(0);
  }
}
