import type { Channel } from '../channel/channel.ts';
import {
  AuthoritiesReply,
  KeyholderHealth,
  KeyholderInfo,
  type KeyholderRequest,
  RotateReply,
  WrapReply,
} from '../channel/messages/keyholder.ts';
import { SallyportError } from '../errors.ts';
import { allocateSecret } from '../secret-buffer.ts';
import { ecdsaSignature } from './authorities/der.ts';

/** What a verb may take before the keyholder is thought to hang in its module. */
const DEADLINE_MS = 5_000;
/** How long after a keyholder could not be used it is asked again. */
const AGAIN_MS = 1_000;
/** What `status` waits for a keyholder. */
const STATUS_MS = 1_000;
/** Hardware takes its time to make a key. */
const MAKING_DEADLINE_MS = 60_000;
/** A keyholder that has just been started loads its module and logs in before it answers. */
const FIRST_DEADLINE_MS = 15_000;

export interface WrappedKey {
  readonly wrapped: Buffer;
  /** Label of the KEK that it is wrapped with. */
  readonly kek: string;
}

/** As /v1/status shows it. */
export interface HsmStatus {
  readonly state: 'ok' | 'unavailable';
  readonly error?: string;
  readonly token?: string;
  readonly module?: string;
  readonly kek?: string;
  readonly profile?: string;
  readonly info?: KeyholderInfo;
  readonly health?: KeyholderHealth;
}

interface Connected {
  readonly name: string;
  readonly channel: Channel;
  readonly info: KeyholderInfo;
}

/**
 * The HSM as the vault sees it: typed verbs over the channel to the keyholder of the moment. While there is none every
 * verb throws hsm_unavailable at once; a verb that outlasts its deadline has the keyholder killed, since a call that
 * hangs inside a vendor's module ends no other way.
 */
export class KeyholderClient {
  readonly #kill: (name: string, reason: string) => void;
  #connected: Connected | undefined;
  #problem = 'no keyholder has been started yet';
  #opening: Promise<void> = Promise.resolve();
  /** Called when a keyholder has answered that its token, keys and login are there. */
  onReady: () => void = () => {};

  constructor(kill: (name: string, reason: string) => void) {
    this.#kill = kill;
  }

  /** Takes `channel` as the keyholder `name`: asks it who it is, and uses it from then on. Never throws. */
  connect(name: string, channel: Channel): Promise<void> {
    const previous = channel.onClose;
    channel.onClose = (error) => {
      previous(error);
      if (this.#connected?.channel !== channel) return;
      this.#connected = undefined;
      this.#problem = 'the keyholder ended and is being started again';
    };
    this.#opening = this.#open(name, channel);
    return this.#opening.catch((error: unknown) => this.#again(name, channel, error));
  }

  /** Notes what the keyholder lacks, and asks it again for as long as it lives: a token may come back. */
  #again(name: string, channel: Channel, lack: unknown): void {
    this.#problem = lack instanceof Error ? lack.message : String(lack);
    const timer = setTimeout(() => {
      if (channel.closed) return;
      this.#open(name, channel).catch((error: unknown) => this.#again(name, channel, error));
    }, AGAIN_MS);
    timer.unref();
  }

  /** Resolves once the keyholder connected last can be used. Rejects with what it lacks: hsm_pin_wrong and the like. */
  opened(): Promise<void> {
    return this.#opening;
  }

  async #open(name: string, channel: Channel): Promise<void> {
    const info = await this.#ask(
      name,
      channel,
      { verb: 'info' },
      [],
      (header) => KeyholderInfo.parse(header),
      FIRST_DEADLINE_MS,
    );
    this.#connected = { name, channel, info };
    this.onReady();
  }

  /** What the HSM is, or undefined with `problem` saying why nothing is known of it. */
  get info(): KeyholderInfo | undefined {
    return this.#connected?.info;
  }

  get problem(): string | undefined {
    return this.#connected ? undefined : this.#problem;
  }

  /**
   * What `status` says of the HSM. The keyholder is asked, for a second at most; where it does not answer, what it said
   * of itself last stands, with the reason. Never throws.
   */
  async status(): Promise<HsmStatus> {
    const connected = this.#connected;
    if (!connected) return { state: 'unavailable', error: this.#problem };
    const { channel, name } = connected;
    let { info } = connected;
    let health: KeyholderHealth | undefined;
    const about = (): Omit<HsmStatus, 'state'> => {
      const { token, module, kek, profile } = info;
      return { token, module, kek, profile, info, ...(health ? { health } : {}) };
    };
    try {
      health = await channel.request(
        { verb: 'health' },
        [],
        (header) => KeyholderHealth.parse(header),
        STATUS_MS,
      );
      info = await channel.request({ verb: 'info' }, [], (header) => KeyholderInfo.parse(header), STATUS_MS);
      if (this.#connected === connected) this.#connected = { name, channel, info };
      return { state: 'ok', ...about() };
    } catch (error) {
      return {
        state: 'unavailable',
        error: error instanceof Error ? error.message : String(error),
        ...about(),
      };
    }
  }

  /** The intake key's public point, 65 bytes. Throws hsm_unavailable. */
  intakePublicKey(): Buffer {
    return Buffer.from(this.#current().info.intakePublicKey, 'hex');
  }

  /** Asks what the HSM is anew. Throws hsm_unavailable. */
  async refresh(): Promise<KeyholderInfo> {
    const connected = this.#current();
    const info = await this.#verb({ verb: 'info' }, [], (header) => KeyholderInfo.parse(header));
    if (this.#connected === connected) this.#connected = { ...connected, info };
    return info;
  }

  /** Makes the KEK after `from`; where there is one already, answers that. Throws hsm_unavailable, hsm_key_missing. */
  rotate(from: string): Promise<RotateReply> {
    return this.#verb(
      { verb: 'rotate', from },
      [],
      (header) => RotateReply.parse(header),
      MAKING_DEADLINE_MS,
    );
  }

  /** Destroys an old KEK: what is wrapped with it never opens again. Throws invalid_argument, hsm_key_missing. */
  retire(kek: string): Promise<void> {
    return this.#verb({ verb: 'retire', kek }, [], () => undefined);
  }

  /** The audit key's public point, uncompressed, hex. Throws hsm_unavailable. */
  auditPublicKey(): string {
    return this.#current().info.auditPublicKey;
  }

  wrap(dek: Buffer, aad: Buffer): Promise<WrappedKey> {
    return this.#verb({ verb: 'wrap' }, [dek, aad], (header, parts) => ({
      ...WrapReply.parse(header),
      wrapped: copyOf(parts[0]),
    }));
  }

  /** Resolves with the DEK in memory of its own, which the caller wipes. Throws hsm_refused on a wrong AAD. */
  unwrap(wrapped: Buffer, aad: Buffer, kek: string): Promise<Buffer> {
    return this.#verb({ verb: 'unwrap', kek }, [wrapped, aad], (_header, parts) => copyOf(parts[0]));
  }

  /** ECDSA P-256 with SHA-256 under the audit key: 64 bytes, r‖s. */
  sign(message: Buffer): Promise<Buffer> {
    return this.#verb({ verb: 'sign' }, [message], (_header, parts) => copyOf(parts[0]));
  }

  /** Makes the key of an authority in the HSM; its uncompressed point. Throws hsm_unavailable. */
  makeAuthority(label: string): Promise<Buffer> {
    const header = { verb: 'authority.make', label } as const;
    return this.#verb(header, [], (_header, parts) => copyOf(parts[0]), MAKING_DEADLINE_MS);
  }

  /** ECDSA P-256 with SHA-256 under that key, in DER. Throws hsm_unavailable, hsm_key_missing. */
  signAsAuthority(label: string, message: Buffer): Promise<Buffer> {
    return this.#verb({ verb: 'authority.sign', label }, [message], (_header, parts) =>
      ecdsaSignature(copyOf(parts[0])),
    );
  }

  /** Throws hsm_unavailable. */
  destroyAuthority(label: string): Promise<void> {
    return this.#verb({ verb: 'authority.destroy', label }, [], () => undefined);
  }

  /** Labels of the authorities' keys in the HSM. Throws hsm_unavailable. */
  authorityLabels(): Promise<string[]> {
    return this.#verb({ verb: 'authority.list' }, [], (header) => AuthoritiesReply.parse(header).labels);
  }

  /** HMAC-SHA-256 of each message, 32 bytes each, in order. */
  mac(messages: readonly Buffer[]): Promise<Buffer[]> {
    return this.#verb({ verb: 'mac' }, messages, (_header, parts) => {
      if (parts.length !== messages.length || parts.some((part) => part.length !== 32)) throw malformed();
      return parts.map(copyOf);
    });
  }

  /** The x coordinate (32 bytes) of ECDH between `point` and the intake key, which the caller wipes. */
  agree(point: Buffer): Promise<Buffer> {
    return this.#verb({ verb: 'agree' }, [point], (_header, parts) => copyOf(parts[0]));
  }

  /** The anchor's bytes, undefined where none was ever written. */
  readAnchor(): Promise<Buffer | undefined> {
    return this.#verb({ verb: 'anchor.read' }, [], (_header, parts) =>
      parts.length === 0 ? undefined : copyOf(parts[0]),
    );
  }

  writeAnchor(anchor: Buffer): Promise<void> {
    return this.#verb({ verb: 'anchor.write' }, [anchor], () => undefined);
  }

  #verb<T>(
    header: KeyholderRequest,
    parts: readonly Buffer[],
    take: (header: unknown, parts: readonly Buffer[]) => T,
    deadlineMs = DEADLINE_MS,
  ): Promise<T> {
    const { name, channel } = this.#current();
    return this.#ask(name, channel, header, parts, take, deadlineMs);
  }

  async #ask<T>(
    name: string,
    channel: Channel,
    header: KeyholderRequest,
    parts: readonly Buffer[],
    take: (header: unknown, parts: readonly Buffer[]) => T,
    deadlineMs: number,
  ): Promise<T> {
    try {
      return await channel.request(header, parts, take, deadlineMs);
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw malformed(cause);
      if (cause.code === 'channel_timeout') {
        channel.close();
        this.#kill(name, `its HSM did not answer "${header.verb}" within ${deadlineMs} ms`);
        throw unavailable(`it did not answer within ${deadlineMs} ms`, cause);
      }
      if (cause.code === 'channel_closed') throw unavailable('the keyholder ended', cause);
      throw cause;
    }
  }

  #current(): Connected {
    if (!this.#connected) throw unavailable(this.#problem);
    return this.#connected;
  }
}

/** A part lives only until its handler returns: this is what outlives it, in memory that can be wiped. */
function copyOf(part: Buffer | undefined): Buffer {
  if (!part) throw malformed();
  const copy = allocateSecret(part.length);
  part.copy(copy);
  return copy;
}

function malformed(cause?: unknown): SallyportError {
  return new SallyportError('channel_malformed', 'The keyholder answered in a form that was not asked for.', {
    cause,
  });
}

function unavailable(why: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'hsm_unavailable',
    `The HSM cannot be used now (${why.replace(/\.$/, '')}): it is retried by itself; \`sallyport status\` shows its state.`,
    { cause },
  );
}
