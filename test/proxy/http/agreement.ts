import { isKnownToLlhttp, Llhttp, type LlhttpMessage } from './llhttp.ts';
import type { Reading, ReadMessage, Side } from './reading.ts';

/**
 * Whether llhttp reads all that ours accepted in the same way: start line, fields, body, trailers, persistence, and
 * that head and message end at the very byte where ours end. Returns what differs, undefined where nothing does.
 */
export function disagreement(side: Side, wire: Buffer, reading: Reading, asked = 'GET'): string | undefined {
  let oracle = new Llhttp(side);
  try {
    for (const message of reading.messages) {
      const expectTunnel =
        side === 'response' && asked === 'CONNECT' && message.status >= 200 && message.status < 300;
      oracle.bodiless = asked === 'HEAD' ? 'skip' : expectTunnel ? 'tunnel' : undefined;
      const problem = compare(side, wire, message, oracle);
      if (problem) return problem;
      if (mayBeLast(message)) {
        oracle.close();
        oracle = new Llhttp(side);
      }
    }
    return undefined;
  } finally {
    oracle.close();
  }
}

function compare(side: Side, wire: Buffer, message: ReadMessage, oracle: Llhttp): string | undefined {
  const count = oracle.messages.length;
  // Methods that llhttp does not know it refuses: nothing is misread by that, so the rest is compared with GET.
  const known = side === 'response' || isKnownToLlhttp(message.method);
  const head = known
    ? wire.subarray(message.start, message.headEnd)
    : Buffer.concat([
        Buffer.from('GET'),
        wire.subarray(message.start + message.method.length, message.headEnd),
      ]);
  let refusal = oracle.feed(head.subarray(0, -1));
  if (refusal) return `llhttp refuses the head: ${refusal}`;
  if (oracle.current.headDone || oracle.messages.length > count) return 'llhttp ends the head earlier';
  refusal = oracle.feed(head.subarray(-1));
  if (refusal) return `llhttp refuses the head's end: ${refusal}`;
  const read = oracle.messages[count] ?? oracle.current;
  if (!read.headDone) return 'llhttp ends the head later';
  const headProblem = compareHead(message, read, known);
  if (headProblem) return headProblem;
  // Ours may end a connection that llhttp would keep ("close, keep-alive" in 1.0), never the other way about; but it
  // ignores Proxy-Connection, and llhttp does not know yet that a response has no body.
  const excused =
    oracle.bodiless !== undefined || message.fields.some((text) => /^proxy-connection$/i.test(text));
  if (message.persistent && !read.keepAlive && !excused) return 'llhttp ends the connection';
  if (!message.done || isSilent205(message)) return undefined;
  return compareBody(wire, message, oracle, count);
}

function compareHead(message: ReadMessage, read: LlhttpMessage, known: boolean): string | undefined {
  if (known && message.method !== (read.method ?? ''))
    return `method ${message.method}, llhttp ${read.method}`;
  if (message.target !== read.target) return `target ${message.target}, llhttp ${read.target}`;
  if (message.status !== (read.status ?? 0)) return `status ${message.status}, llhttp ${read.status}`;
  if (message.minor !== read.minor) return `minor ${message.minor}, llhttp ${read.minor}`;
  const fields = JSON.stringify(message.fields);
  if (fields !== JSON.stringify(read.fields))
    return `fields ${fields}, llhttp ${JSON.stringify(read.fields)}`;
  return undefined;
}

function compareBody(wire: Buffer, message: ReadMessage, oracle: Llhttp, count: number): string | undefined {
  const body = wire.subarray(message.headEnd, message.end);
  if (body.length > 0) {
    const refusal = oracle.feed(body.subarray(0, -1));
    if (refusal) return `llhttp refuses the body: ${refusal}`;
    if (oracle.messages.length > count) return 'llhttp ends the message earlier';
    const lastRefusal = oracle.feed(body.subarray(-1));
    if (lastRefusal) return `llhttp refuses the body's end: ${lastRefusal}`;
  }
  if (message.framing.kind === 'close') {
    const refusal = oracle.finish();
    if (refusal) return `llhttp refuses the close: ${refusal}`;
  }
  const read = oracle.messages[count];
  if (!read) return 'llhttp ends the message later';
  if (oracle.messages.length !== count + 1) return 'llhttp reads more messages';
  if (read.body !== message.body)
    return `body ${JSON.stringify(message.body)}, llhttp ${JSON.stringify(read.body)}`;
  const trailers = linesOf(message.trailers);
  if (JSON.stringify(trailers) !== JSON.stringify(read.trailers)) {
    return `trailers ${JSON.stringify(trailers)}, llhttp ${JSON.stringify(read.trailers)}`;
  }
  return undefined;
}

function linesOf(section: string): string[] {
  const pairs: string[] = [];
  for (const line of section.split('\r\n').slice(0, -1)) {
    const colon = line.indexOf(':');
    pairs.push(line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, ''));
  }
  return pairs;
}

/**
 * llhttp takes what follows an Upgrade for another protocol, which ours leaves to the server's answer, and obeys
 * Proxy-Connection, which ours takes away, and the "close" of a 1xx, which concerns the final response: the next message is
 * read afresh.
 */
function mayBeLast({ fields, method, status }: ReadMessage): boolean {
  return (
    method === 'CONNECT' ||
    (status > 0 && status < 200) ||
    fields.some((text, i) => i % 2 === 0 && /^(upgrade|proxy-connection)$/i.test(text))
  );
}

/** llhttp reads such a 205 up to the close; ours ends it and the connection, see response.ts. */
function isSilent205({ status, framing }: ReadMessage): boolean {
  return status === 205 && framing.kind === 'none';
}
