import type { KeyholderClient } from '../keyholder.ts';
import { decodeAnchor, encodeAnchor, type StateHead } from './anchor.ts';

/** Where the newest state is noted, out of reach of whoever writes the database alone. */
export interface AnchorPlace {
  /** Begins a sentence about it. */
  readonly name: string;
  /** 'foreign' where what is there was not written by this vault, or not in this version; undefined where nothing is. Throws hsm_unavailable. */
  read(): Promise<StateHead | 'foreign' | undefined>;
  /** Throws hsm_unavailable, store_unavailable. */
  write(state: StateHead): Promise<void>;
}

/** A private data object on the token: whoever puts it back needs the token and its PIN. */
export class TokenAnchor implements AnchorPlace {
  readonly name = 'The HSM';
  readonly #keyholder: KeyholderClient;

  constructor(keyholder: KeyholderClient) {
    this.#keyholder = keyholder;
  }

  async read(): Promise<StateHead | 'foreign' | undefined> {
    const bytes = await this.#keyholder.readAnchor();
    return bytes && (decodeAnchor(bytes) ?? 'foreign');
  }

  write(state: StateHead): Promise<void> {
    return this.#keyholder.writeAnchor(encodeAnchor(state));
  }
}
