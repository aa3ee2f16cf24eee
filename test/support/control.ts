import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { encodeFields } from '../../src/sealing/fields.ts';
import { credentialAad, INFO } from '../../src/sealing/intake.ts';
import { seal } from '../../src/sealing/seal.ts';

const Intake = z.object({ publicKey: z.string() });

/** What the command line says to a running vault, without a process for each command. */
export class Control {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true });
  #intake: Buffer | undefined;

  constructor(data: string) {
    this.#socketPath = join(data, 'vault', 'control.sock');
  }

  /** The reply's JSON. Rejects where the vault refuses, or is not there. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await this.open(method, path, body);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    if (response.statusCode !== 200) throw new Error(`${method} ${path}: ${response.statusCode} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  /** The reply, its body unread. */
  open(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = request(
      { socketPath: this.#socketPath, agent: this.#agent, method, path, headers },
      resolve,
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    return promise;
  }

  /** Seals and sets the one secret field of a service. */
  async setCredential(service: string, field: string, value: string, label = 'default'): Promise<void> {
    this.#intake ??= Buffer.from(Intake.parse(await this.call('GET', '/v1/intake')).publicKey, 'hex');
    const fields = encodeFields([{ name: field, value: Buffer.from(value) }]);
    const { enc, ciphertext } = seal(this.#intake, INFO, credentialAad(service, label), fields);
    const sealed = { enc: enc.toString('base64'), ciphertext: ciphertext.toString('base64') };
    await this.call('PUT', '/v1/credentials', { service, label, sealed });
  }

  close(): void {
    this.#agent.destroy();
  }
}
