/** One message as it must be read. Fields as "name=value", in wire order. */
export interface Message {
  readonly start: string;
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly trailers?: string;
}

/** One requirement of the RFCs on reading HTTP/1.1, with the bytes that show it. */
export interface Row {
  readonly rfc: string;
  readonly says: string;
  readonly asked?: string;
  readonly wire: string;
  readonly reads: readonly Message[];
  /** As `Reading.ending` says. */
  readonly ending: string;
}

/** A row whose message is not read. */
export function refused(rfc: string, says: string, wire: string, code = 'bad_request'): Row {
  return { rfc, says, wire, reads: [], ending: code };
}
