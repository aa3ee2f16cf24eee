import { Buffer } from 'node:buffer';
import type { TokenRequest, Value } from '../channel/messages/exchanger.ts';

/** A request as it goes out. */
export interface OutgoingRequest {
  readonly host: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Writes the request, secrets filled in. Throws exchange_failed where one is missing that it names. */
export function compose(request: TokenRequest, secrets: ReadonlyMap<string, string>): OutgoingRequest {
  const url = new URL(request.url);
  const textOf = (value: Value): string => {
    const text = 'text' in value ? value.text : secrets.get(value.part);
    if (text === undefined) throw new TypeError('the exchange names a part that was not sent');
    return text;
  };
  const parameters = request.parameters.map(({ name, value }): [string, string] => [name, textOf(value)]);
  const body = Buffer.from(encode(request.body, parameters), 'utf8');
  return {
    host: url.host,
    path: `${url.pathname}${url.search}`,
    headers: {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'sallyport', // GitHub answers nobody without one
      connection: 'close',
      'content-length': String(body.length),
      ...(TYPES[request.body] === undefined ? {} : { 'content-type': TYPES[request.body] }),
      ...authorization(request.authorization, textOf),
    },
    body,
  };
}

const TYPES: Readonly<Record<string, string>> = {
  form: 'application/x-www-form-urlencoded',
  json: 'application/json',
};

function encode(as: TokenRequest['body'], parameters: [string, string][]): string {
  if (as === 'form') return new URLSearchParams(parameters).toString();
  return as === 'json' ? JSON.stringify(Object.fromEntries(parameters)) : '';
}

function authorization(
  given: TokenRequest['authorization'],
  textOf: (value: Value) => string,
): Record<string, string> {
  if (given.scheme === 'none') return {};
  if (given.scheme === 'bearer') return { authorization: `Bearer ${textOf(given.token)}` };
  const pair = `${formEncoded(textOf(given.user))}:${formEncoded(textOf(given.password))}`;
  return { authorization: `Basic ${Buffer.from(pair, 'utf8').toString('base64')}` };
}

/** As a value of application/x-www-form-urlencoded. */
function formEncoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}
