import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { KeyholderHealth, type KeyholderRequest, Provisioned } from '../../src/channel/messages/keyholder.ts';
import { type ErrorCode, SallyportError } from '../../src/errors.ts';
import { makeShim, type Shim } from '../support/pkcs11-shim.ts';
import {
  makeSoftHsm,
  makeToken,
  type RunningKeyholder,
  runProvision,
  type SoftHsm,
  startKeyholder,
} from '../support/softhsm.ts';

const AAD = Buffer.from('credential 7, version 2');
const DEADLINE_MS = 10_000;

/** A verb asked as the vault asks it, with parts that it takes. */
export type Asked =
  | 'unwrap'
  /** With a KEK that the token does not hold. */
  | 'unwrap retired'
  | 'wrap'
  | 'mac'
  | 'sign'
  | 'agree'
  | 'info'
  | 'anchor.read'
  | 'anchor.write'
  | 'rotate';

/** A real keyholder on a real token, behind the shim, and what must never be lost. */
export class Stage {
  readonly shim: Shim;
  readonly hsm: SoftHsm;
  readonly #backup: string;
  readonly #own: readonly string[];
  readonly #dek = randomBytes(32);
  readonly #anchor = randomBytes(100);
  #wrapped: Buffer = Buffer.alloc(0);
  #mac: Buffer = Buffer.alloc(0);
  keyholder: RunningKeyholder;

  private constructor(shim: Shim, hsm: SoftHsm, keyholder: RunningKeyholder, own: readonly string[]) {
    this.shim = shim;
    this.hsm = hsm;
    this.#backup = join(hsm.folder, 'backup');
    this.keyholder = keyholder;
    this.#own = own;
  }

  static async open(profile = 'aes-gcm'): Promise<Stage> {
    const shim = makeShim();
    const hsm = { ...makeSoftHsm('faults'), module: shim.module };
    const { status, output } = runProvision(hsm, { args: ['--create', '--profile', profile] });
    if (status !== 0) throw new Error(JSON.stringify(output));
    const { auditPublicKey, intakePublicKey } = Provisioned.parse(output);
    const own = ['--audit-key', auditPublicKey, '--intake-key', intakePublicKey];
    const stage = new Stage(shim, hsm, await startKeyholder(hsm, { args: own }), own);
    stage.#wrapped = await stage.#bytes({ verb: 'wrap' }, [stage.#dek, AAD]);
    stage.#mac = await stage.#bytes({ verb: 'mac' }, [AAD]);
    await stage.ask({ verb: 'anchor.write' }, [stage.#anchor]);
    cpSync(hsm.tokens, stage.#backup, { recursive: true });
    return stage;
  }

  /** Asks `verb` with what belongs to it; the code it fails with, undefined where it is answered. */
  async code(verb: Asked, deadlineMs = DEADLINE_MS): Promise<ErrorCode | undefined> {
    try {
      await this.ask(...this.#request(verb), deadlineMs);
      return undefined;
    } catch (error) {
      if (error instanceof SallyportError) return error.code;
      throw error;
    }
  }

  /** What was made before any fault, and is not as it was; nothing where all is well. */
  async losses(): Promise<string[]> {
    const lost: string[] = [];
    const compare = async (what: string, request: KeyholderRequest, parts: Buffer[], expected: Buffer) => {
      if (!(await this.#bytes(request, parts)).equals(expected)) lost.push(what);
    };
    await compare('the DEK', { verb: 'unwrap', kek: 'sallyport-kek-1' }, [this.#wrapped, AAD], this.#dek);
    await compare('the MAC key', { verb: 'mac' }, [AAD], this.#mac);
    await compare('the anchor', { verb: 'anchor.read' }, [], this.#anchor);
    return lost;
  }

  async health(): Promise<KeyholderHealth> {
    return KeyholderHealth.parse((await this.ask({ verb: 'health' }, [])).header);
  }

  /** Puts the token's files back as they were before any fault. */
  restoreToken(): void {
    rmSync(this.hsm.tokens, { recursive: true });
    cpSync(this.#backup, this.hsm.tokens, { recursive: true });
  }

  /** Moves the files of all that is in the token away, or back; the token itself stays. */
  moveObjects(away: boolean): void {
    const aside = join(this.hsm.folder, 'objects');
    mkdirSync(aside, { recursive: true });
    const [from, to] = away ? [dirname(this.tokenFile()), aside] : [aside, dirname(this.tokenFile())];
    for (const name of readdirSync(from)) {
      if (name.endsWith('.object') && name !== 'token.object') renameSync(join(from, name), join(to, name));
    }
  }

  /** The token's own file among those of its objects. */
  tokenFile(): string {
    const name = readdirSync(this.hsm.tokens, { encoding: 'utf8', recursive: true }).find((file) =>
      file.endsWith('token.object'),
    );
    if (name === undefined) throw new Error('the token has no file of its own');
    return join(this.hsm.tokens, name);
  }

  /** Puts another token of the same label, with keys and a PIN of its own, in the place of this one. */
  exchangeToken(): void {
    const { hsm } = makeToken(this.hsm.label);
    renameSync(this.hsm.tokens, `${this.hsm.tokens}.gone`);
    cpSync(hsm.tokens, this.hsm.tokens, { recursive: true });
    hsm.remove();
  }

  writePin(content: string): void {
    writeFileSync(this.hsm.pinFile, content);
  }

  /** Starts a keyholder in the place of this one, as the supervisor does once it is gone or was killed. */
  async restart(): Promise<void> {
    this.keyholder.process.kill('SIGKILL');
    await this.keyholder.stop();
    this.keyholder = await startKeyholder(this.hsm, { args: this.#own });
  }

  async close(): Promise<void> {
    this.keyholder.process.kill('SIGKILL');
    await this.keyholder.stop();
    this.hsm.remove();
    this.shim.remove();
  }

  ask(
    request: KeyholderRequest,
    parts: readonly Buffer[],
    deadlineMs = DEADLINE_MS,
  ): Promise<{ header: unknown; parts: Buffer[] }> {
    return this.keyholder.channel.request(
      request,
      parts,
      (header, answered) => ({ header, parts: answered.map((part) => Buffer.from(part)) }),
      deadlineMs,
    );
  }

  async #bytes(request: KeyholderRequest, parts: readonly Buffer[]): Promise<Buffer> {
    const [first] = (await this.ask(request, parts)).parts;
    return first ?? Buffer.alloc(0);
  }

  #request(verb: Asked): [KeyholderRequest, Buffer[]] {
    const point = Buffer.from(
      '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
      'hex', // the base point of P-256
    );
    switch (verb) {
      case 'unwrap':
        return [{ verb, kek: 'sallyport-kek-1' }, [this.#wrapped, AAD]];
      case 'unwrap retired':
        return [{ verb: 'unwrap', kek: 'sallyport-kek-9' }, [this.#wrapped, AAD]];
      case 'wrap':
        return [{ verb }, [this.#dek, AAD]];
      case 'mac':
      case 'sign':
        return [{ verb }, [AAD]];
      case 'agree':
        return [{ verb }, [point]];
      case 'anchor.write':
        return [{ verb }, [this.#anchor]];
      case 'rotate':
        return [{ verb, from: 'sallyport-kek-1' }, []];
      default:
        return [{ verb }, []];
    }
  }
}
