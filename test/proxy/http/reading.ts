import { SallyportError } from '../../../src/errors.ts';
import { createBodyReader } from '../../../src/proxy/http/body.ts';
import type { FieldLines, Framing, HeadLimits } from '../../../src/proxy/http/message.ts';
import { RequestReader } from '../../../src/proxy/http/request.ts';
import { ResponseReader } from '../../../src/proxy/http/response.ts';

export type Side = 'request' | 'response';

/** One message as our codec read it; offsets are into the whole wire. */
export interface ReadMessage {
  readonly start: number;
  readonly headEnd: number;
  end: number;
  readonly method: string;
  readonly target: string;
  readonly status: number;
  readonly minor: number;
  readonly fields: string[];
  readonly framing: Framing;
  readonly persistent: boolean;
  body: string;
  trailers: string;
  done: boolean;
}

/**
 * `ending`: "end" at a message's end, "partial" within one, "closed" after one that ends the connection, "tunnel" after
 * one that begins another protocol, or the code of the error.
 */
export interface Reading {
  readonly messages: readonly ReadMessage[];
  readonly ending: string;
}

export const LIMITS: HeadLimits = { headBytes: 65536, headFields: 100, targetBytes: 8192 };

export function textOf(lines: FieldLines): string[] {
  const texts: string[] = [];
  for (let i = 0; i < 2 * lines.count; i++) {
    texts.push(lines.bytes.toString('latin1', lines.offsets[2 * i], lines.offsets[2 * i + 1]));
  }
  return texts;
}

/**
 * Reads a connection's bytes, which arrive as `chunks`, as the exchange does: head, body, head, … `asked`: for
 * responses, the method they answer. Every chunk is overwritten once it was read: nothing may refer to it later.
 */
export function readWire(side: Side, chunks: readonly Buffer[], asked = 'GET', limits = LIMITS): Reading {
  const reader = side === 'request' ? new RequestReader(limits) : new ResponseReader(limits);
  if (reader instanceof ResponseReader) reader.expect(asked);
  const messages: ReadMessage[] = [];
  let body: ReturnType<typeof createBodyReader> | undefined;
  let before = 0; // wire offset of this chunk's first byte
  let started = 0; // wire offset of the message's first byte
  let ending = '';

  const finish = (message: ReadMessage, at: number): void => {
    message.done = true;
    message.end = at;
    started = at;
    body = undefined;
    if (message.method === 'CONNECT' || message.status === 101) ending = 'tunnel';
    else if (side === 'response' && asked === 'CONNECT' && message.status >= 200 && message.status < 300)
      ending = 'tunnel';
    else if ((!message.persistent && message.status >= 200) || (side === 'request' && !message.persistent))
      ending = 'closed';
  };

  try {
    for (const chunk of chunks) {
      let at = 0;
      while (at < chunk.length && ending === '') {
        const message = messages.at(-1);
        if (body && message) {
          const from = at;
          at = body.read(chunk, at);
          message.body += contents(chunk, body.ranges, from, at);
          message.trailers += contents(chunk, body.trailerRanges, from, at);
          if (body.done) finish(message, before + at);
          continue;
        }
        const end = reader.read(chunk, at);
        if (end === -1) break;
        const read = describe(reader, started, before + end);
        messages.push(read);
        body = createBodyReader(read.framing, side, limits);
        at = end;
        if (body.done) finish(read, before + at);
        else reader.reset();
      }
      before += chunk.length;
      chunk.fill(0x7e);
      if (ending !== '') return { messages, ending };
    }
    const last = messages.at(-1);
    if (body && last?.framing.kind === 'close') {
      body.end();
      finish(last, before);
      return { messages, ending };
    }
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return { messages, ending: error.code };
  }
  return { messages, ending: started === before ? 'end' : 'partial' };
}

function contents(chunk: Buffer, ranges: readonly number[], from: number, to: number): string {
  let text = '';
  for (let i = 0; i < ranges.length; i += 2) {
    const start = ranges[i] ?? -1;
    const end = ranges[i + 1] ?? -1;
    if (start < from || end <= start || end > to)
      throw new Error(`range ${start}-${end} is not within ${from}-${to}`);
    text += chunk.toString('latin1', start, end);
  }
  return text;
}

function describe(reader: RequestReader | ResponseReader, wireStart: number, headEnd: number): ReadMessage {
  const { head } = reader;
  const start = headEnd - head.bytes.length; // past an empty line that was skipped
  if (start < wireStart) throw new Error('a head is longer than what was fed');
  const isRequest = 'method' in head;
  return {
    start,
    headEnd,
    end: -1,
    method: isRequest ? head.method : '',
    target: isRequest ? head.bytes.toString('latin1', head.targetStart, head.targetEnd) : '',
    status: isRequest ? 0 : head.status,
    minor: head.minor,
    fields: textOf(head.fields),
    framing: head.framing,
    persistent: head.persistent,
    body: '',
    trailers: '',
    done: false,
  };
}
