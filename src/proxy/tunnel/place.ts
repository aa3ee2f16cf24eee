import type { Buffer } from 'node:buffer';
import type { RequestHead } from '../http/message.ts';

/** Where a request goes, and the token that it was sent with. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly token: Buffer;
}

/** Says where a request goes that its way in has not told. Throws where it may not be made here. */
export type PlaceOf = (head: RequestHead) => Place;
