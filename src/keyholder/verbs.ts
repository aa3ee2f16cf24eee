import type { Handler, Reply } from '../channel/channel.ts';
import {
  type AuthoritiesReply,
  type KeyholderHealth,
  KeyholderRequest,
  type KeysReply,
  MAX_REWRAPPED,
  type RotateReply,
  type WrapReply,
} from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { readAnchor, writeAnchor } from './anchor.ts';
import { authorityKeys, destroyAuthorityKey, makeAuthorityKey, signAsAuthority } from './authorities.ts';
import type { Connection } from './connection.ts';
import {
  credentialKeys,
  credentialPublicKey,
  destroyCredentialKey,
  makeCredentialKey,
  signWithCredentialKey,
} from './credential-keys.ts';
import { hmacWithKey, importHmacKey } from './imported-keys.ts';
import { info } from './info.ts';
import { Meter } from './meter.ts';
import { agree, mac, rewrap, sign, unwrap, wrap } from './operations.ts';
import { refreshKeys } from './refresh-keys.ts';
import { retire, rotate } from './rotate.ts';
import type { Token } from './token.ts';

const MAX_DEK = 64;
const NOTHING = {};

/**
 * Answers the vault's requests, in order. All of it is synchronous: the parts asked are views into the channel's
 * buffer, used where they lie and wiped by the channel, as are the parts answered.
 */
export function answerWith(connection: Connection): Handler {
  const meter = new Meter();
  return (header, parts) => {
    const { success, data: request } = KeyholderRequest.safeParse(header);
    if (!success) throw malformed('It is none that the keyholder knows.');
    if (request.verb === 'health') {
      none(parts);
      return { header: { ...connection.health(), verbs: meter.read() } satisfies KeyholderHealth };
    }
    const mayOpen = request.verb === 'info' || undefined;
    return meter.measure(request.verb, () =>
      connection.use((token) => answer(token, request, parts), mayOpen),
    );
  };
}

function answer(
  token: Token,
  request: Exclude<KeyholderRequest, { verb: 'health' }>,
  parts: readonly Buffer[],
): Reply {
  switch (request.verb) {
    case 'info':
      none(parts);
      refreshKeys(token);
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
    case 'rewrap':
      return { header: NOTHING, parts: rewrap(token, request.from, request.to, pairs(parts)) };
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
    case 'authority.make':
      none(parts);
      return { header: NOTHING, parts: [makeAuthorityKey(token, request.label)] };
    case 'authority.sign': {
      const [message] = one(parts);
      return { header: NOTHING, parts: [signAsAuthority(token, request.label, message)] };
    }
    case 'authority.destroy':
      none(parts);
      destroyAuthorityKey(token, request.label);
      return { header: NOTHING };
    case 'authority.list':
      none(parts);
      return { header: { labels: authorityKeys(token).map(([label]) => label) } satisfies AuthoritiesReply };
    case 'key.make':
      none(parts);
      return { header: NOTHING, parts: [makeCredentialKey(token, request.label, request.type)] };
    case 'key.import': {
      const [value] = one(parts);
      importHmacKey(token, request.label, value);
      return { header: NOTHING };
    }
    case 'key.mac': {
      const [message] = one(parts);
      return { header: NOTHING, parts: [hmacWithKey(token, request.label, message)] };
    }
    case 'key.public':
      none(parts);
      return { header: NOTHING, parts: [credentialPublicKey(token, request.label)] };
    case 'key.sign': {
      const [message] = one(parts);
      return { header: NOTHING, parts: [signWithCredentialKey(token, request.label, message)] };
    }
    case 'key.destroy':
      none(parts);
      destroyCredentialKey(token, request.label);
      return { header: NOTHING };
    case 'key.list':
      none(parts);
      return { header: { labels: credentialKeys(token).map(([label]) => label) } satisfies KeysReply };
    case 'rotate':
      none(parts);
      return { header: rotate(token, request.from) satisfies RotateReply };
    case 'retire':
      none(parts);
      retire(token, request.kek);
      return { header: NOTHING };
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

function pairs(parts: readonly Buffer[]): [Buffer, Buffer][] {
  if (parts.length === 0 || parts.length % 2 !== 0 || parts.length > 2 * MAX_REWRAPPED)
    throw malformed(`It takes 1 to ${MAX_REWRAPPED} pairs of parts.`);
  return Array.from({ length: parts.length / 2 }, (_, index) => two(parts.slice(2 * index, 2 * index + 2)));
}

function malformed(why: string): SallyportError {
  return new SallyportError('channel_malformed', `The keyholder was asked something malformed. ${why}`);
}
