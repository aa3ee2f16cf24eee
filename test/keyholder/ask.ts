import type { KeyholderRequest } from '../../src/channel/messages/keyholder.ts';
import { type ErrorCode, SallyportError } from '../../src/errors.ts';
import type { RunningKeyholder } from '../support/softhsm.ts';

export interface Answer {
  readonly header: unknown;
  readonly parts: Buffer[];
}

/** One verb, its answer copied. Rejects with the keyholder's SallyportError. */
export function ask(
  { channel }: RunningKeyholder,
  request: KeyholderRequest,
  parts: readonly Uint8Array[] = [],
): Promise<Answer> {
  return channel.request(
    request,
    parts,
    (header, answered) => ({ header, parts: answered.map((part) => Buffer.from(part)) }),
    10_000,
  );
}

/** The first part of what a verb answers. */
export async function bytesOf(
  keyholder: RunningKeyholder,
  request: KeyholderRequest,
  parts: readonly Uint8Array[] = [],
): Promise<Buffer> {
  const [first] = (await ask(keyholder, request, parts)).parts;
  if (!first) throw new Error('answered without a part');
  return first;
}

/** The code with which a verb fails; undefined where it does not. */
export async function codeOf(answer: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    if (error instanceof SallyportError) return error.code;
    throw error;
  }
}
