import { timingSafeEqual } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SallyportError } from '../../errors.ts';
import type { KeyholderClient } from '../keyholder.ts';
import { decodeAnchor, encodeAnchor, type StateHead } from './anchor.ts';
import type { AnchorPlace } from './anchor-place.ts';

const MAX_BYTES = 4096;
const MAC_OVER = Buffer.from('sallyport anchor file v1\n', 'latin1');

const Content = z.strictObject({
  format: z.literal(1),
  /** What a token's data object would hold (anchor.ts). */
  anchor: z.string(),
  /** HMAC-SHA-256 by the HSM's MAC key, hex. */
  mac: z.string().regex(/^[0-9a-f]{64}$/),
});

/**
 * A file beside the database, for tokens that keep no data objects. Nobody can write one without the HSM; but whoever can put back an
 * older file together with the database that belonged to it goes unnoticed, which a token's anchor would show.
 */
export class FileAnchor implements AnchorPlace {
  readonly name = 'The anchor file';
  readonly #path: string;
  readonly #keyholder: KeyholderClient;

  constructor(path: string, keyholder: KeyholderClient) {
    this.#path = path;
    this.#keyholder = keyholder;
  }

  async read(): Promise<StateHead | 'foreign' | undefined> {
    const text = await this.#readFile();
    if (text === undefined) return undefined;
    const content = parse(text);
    if (!content) return 'foreign';
    const anchor = Buffer.from(content.anchor, 'utf8');
    const mac = await this.#mac(anchor);
    if (!timingSafeEqual(mac, Buffer.from(content.mac, 'hex'))) return 'foreign';
    return decodeAnchor(anchor) ?? 'foreign';
  }

  /** Whole or not at all, and on the disk when this resolves. */
  async write(state: StateHead): Promise<void> {
    const anchor = encodeAnchor(state);
    const mac = (await this.#mac(anchor)).toString('hex');
    const content = { format: 1, anchor: anchor.toString('utf8'), mac } satisfies z.infer<typeof Content>;
    try {
      const next = `${this.#path}.new`;
      await synced(next, 'w', (file) => file.writeFile(`${JSON.stringify(content)}\n`));
      await rename(next, this.#path);
      await synced(dirname(this.#path), constants.O_RDONLY | constants.O_DIRECTORY, async () => {});
    } catch (cause) {
      throw this.#unavailable(cause);
    }
  }

  async #readFile(): Promise<string | undefined> {
    let file: FileHandle | undefined;
    try {
      file = await open(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_BYTES + 1), 0, MAX_BYTES + 1);
      return buffer.toString('utf8', 0, bytesRead);
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
      throw this.#unavailable(cause);
    } finally {
      await file?.close();
    }
  }

  async #mac(anchor: Buffer): Promise<Buffer> {
    const [mac = Buffer.alloc(0)] = await this.#keyholder.mac([Buffer.concat([MAC_OVER, anchor])]);
    return mac;
  }

  #unavailable(cause: unknown): SallyportError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new SallyportError(
      'store_unavailable',
      `The anchor file ${this.#path} cannot be used (${why}): check that its folder can be written and its disk has room.`,
      { cause },
    );
  }
}

function parse(text: string): z.infer<typeof Content> | undefined {
  if (text.length > MAX_BYTES) return undefined;
  try {
    return Content.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function synced(
  path: string,
  flags: string | number,
  use: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await use(file);
    await file.sync();
  } finally {
    await file.close();
  }
}
