import type { Handler, Reply } from '../channel/channel.ts';
import { KeyholderRequest, type WrapReply } from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { readAnchor, writeAnchor } from './anchor.ts';
import type { Connection } from './connection.ts';
import { info } from './info.ts';
import { agree, mac, sign, unwrap, wrap } from './operations.ts';
import type { Token } from './token.ts';

const MAX_DEK = 64;
const NOTHING = {};

/**
 * Answers the vault's requests, in order. All of it is synchronous: the parts asked are views into the channel's
 * buffer, used where they lie and wiped by the channel, as are the parts answered.
 */
export function answerWith(connection: Connection): Handler {
  return (header, parts) => {
    const request = KeyholderRequest.safeParse(header);
    if (!request.success) throw malformed('It is none that the keyholder knows.');
    return connection.use((token) => answer(token, request.data, parts));
  };
}

function answer(token: Token, request: KeyholderRequest, parts: readonly Buffer[]): Reply {
  switch (request.verb) {
    case 'info':
      none(parts);
      return { header: info(token) };
    case 'wrap': {
      const [dek, aad] = two(parts);
      if (dek.length === 0 || dek.length > MAX_DEK) throw malformed(`A DEK has 1 to ${MAX_DEK} bytes.`);
      const { kek, wrapped } = wrap(token, dek, aad);
      return { header: { kek } satisfies WrapReply, parts: [wrapped] };
    }
    case 'unwrap': {
      const [wrapped, aad] = two(parts);
      return { header: NOTHING, parts: [unwrap(token, request.kek, wrapped, aad)] };
    }
    case 'sign': {
      const [message] = one(parts);
      return { header: NOTHING, parts: [sign(token, message)] };
    }
    case 'mac':
      return { header: NOTHING, parts: mac(token, parts) };
    case 'agree': {
      const [point] = one(parts);
      return { header: NOTHING, parts: [agree(token, point)] };
    }
    case 'anchor.read': {
      none(parts);
      const anchor = readAnchor(token);
      return { header: NOTHING, parts: anchor ? [anchor] : [] };
    }
    case 'anchor.write': {
      const [bytes] = one(parts);
      writeAnchor(token, bytes);
      return { header: NOTHING };
    }
  }
}

function none(parts: readonly Buffer[]): void {
  if (parts.length > 0) throw malformed('It takes no parts.');
}

function one([first, ...more]: readonly Buffer[]): [Buffer] {
  if (!first || more.length > 0) throw malformed('It takes one part.');
  return [first];
}

function two([first, second, ...more]: readonly Buffer[]): [Buffer, Buffer] {
  if (!first || !second || more.length > 0) throw malformed('It takes two parts.');
  return [first, second];
}

function malformed(why: string): SallyportError {
  return new SallyportError('channel_malformed', `The keyholder was asked something malformed. ${why}`);
}
