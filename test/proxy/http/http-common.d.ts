/** Node's own binding to llhttp, as far as the differential tests use it. @types/node leaves it out. */
declare module 'node:_http_common' {
  export const methods: readonly string[];
  export class HTTPParser {
    static readonly REQUEST: number;
    static readonly RESPONSE: number;
    static readonly kOnHeaders: number;
    static readonly kOnHeadersComplete: number;
    static readonly kOnBody: number;
    static readonly kOnMessageComplete: number;
    static readonly kLenientNone: number;
    initialize(type: number, resource: object, maxHeaderSize: number, lenientFlags: number): void;
    execute(bytes: Buffer): number | Error;
    finish(): undefined | Error;
    close(): void;
    [callback: number]: unknown;
  }
}
