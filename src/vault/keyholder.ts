import type { Channel } from '../channel/channel.ts';
import {
  type KeyholderInfo,
  KeysReply,
  type KeyType,
  RotateReply,
  WrapReply,
} from '../channel/messages/keyholder.ts';
import { type ErrorCode, SallyportError } from '../errors.ts';
import { AuthorityKeys } from './authorities/authority-keys.ts';
import { copyOf } from './keyholders/copy.ts';
import { type HsmWatch, malformed, unavailable } from './keyholders/keyholder.ts';
import { Keyholders } from './keyholders/keyholders.ts';
import type { HsmStatus } from './keyholders/status.ts';
import { MAKING_DEADLINE_MS } from './keyholders/verbs.ts';

export interface WrappedKey {
  readonly wrapped: Buffer;
  /** Label of the KEK that it is wrapped with. */
  readonly kek: string;
}

/** A wrapped DEK, and the additional data that it is wrapped under. */
export interface BoundKey {
  readonly wrapped: Buffer;
  readonly aad: Buffer;
}

const UNWATCHED: HsmWatch = { lost: () => {}, well: () => {}, ended: () => {} };

/**
 * The HSM as the vault sees it: typed verbs over the channels to the keyholders of the moment. While there is none every
 * verb throws hsm_unavailable at once.
 */
export class KeyholderClient {
  readonly #keyholders: Keyholders;
  /** The keys of authorities that are kept in the HSM. */
  readonly authorities: AuthorityKeys;
  /** Under way, by KEK. */
  readonly #unwrapping = new Map<string, Set<Promise<Buffer>>>();

  /** `kill`: ends the named keyholder, which hangs. `shared`: there are several, see Keyholders. */
  constructor(kill: (name: string, reason: string) => void, shared = false, watch: HsmWatch = UNWATCHED) {
    this.#keyholders = new Keyholders({ kill, ...watch }, shared);
    this.authorities = new AuthorityKeys(this.#keyholders);
  }

  /** Called when a keyholder has answered that its token, keys and login are there. */
  set onReady(ready: () => void) {
    this.#keyholders.onReady = ready;
  }

  /** Takes `channel` as the keyholder `name`: asks it who it is, and uses it from then on. Never throws. */
  connect(name: string, channel: Channel): Promise<void> {
    return this.#keyholders.add(name, channel);
  }

  /** Resolves once the keyholder connected last can be used. Rejects with what it lacks: hsm_pin_wrong and the like. */
  opened(): Promise<void> {
    return this.#keyholders.opened();
  }

  /** What the HSM is, or undefined with `problem` saying why nothing is known of it. */
  get info(): KeyholderInfo | undefined {
    return this.#keyholders.info;
  }

  get problem(): string | undefined {
    return this.#keyholders.problem;
  }

  /** The code of that problem; `hsm_unavailable` where there is none. */
  get problemCode(): ErrorCode {
    return this.#keyholders.problemCode;
  }

  /** What `status` says of the HSM. Never throws. */
  status(): Promise<HsmStatus> {
    return this.#keyholders.status();
  }

  /** The intake key's public point, 65 bytes. Throws hsm_unavailable. */
  intakePublicKey(): Buffer {
    return Buffer.from(this.#known().intakePublicKey, 'hex');
  }

  /** Asks what the HSM is anew; every keyholder looks. Throws hsm_unavailable. */
  refresh(): Promise<KeyholderInfo> {
    return this.#keyholders.refresh();
  }

  /** Labels of the keys that the token holds now; undefined where it cannot be asked. */
  async heldKeys(): Promise<ReadonlySet<string> | undefined> {
    try {
      const { keys } = await this.refresh();
      return new Set(keys.map(({ label }) => label));
    } catch (error) {
      if (error instanceof SallyportError && error.code.startsWith('hsm_')) return undefined;
      throw error;
    }
  }

  /** Makes the KEK after `from`; where there is one already, answers that. Throws hsm_unavailable, hsm_key_missing. */
  rotate(from: string): Promise<RotateReply> {
    const take = (header: unknown) => RotateReply.parse(header);
    return this.#keyholders.ask({ verb: 'rotate', from }, [], take, MAKING_DEADLINE_MS);
  }

  /**
   * Destroys an old KEK, or sees that it is gone: what is wrapped with it never opens again. Throws invalid_argument for the
   * newest, hsm_key_missing for one that never was, hsm_unavailable.
   */
  retire(kek: string): Promise<void> {
    return this.#keyholders.ask({ verb: 'retire', kek }, [], () => undefined);
  }

  /** The audit key's public point, uncompressed, hex. Throws hsm_unavailable. */
  auditPublicKey(): string {
    return this.#known().auditPublicKey;
  }

  wrap(dek: Buffer, aad: Buffer): Promise<WrappedKey> {
    return this.#keyholders.ask({ verb: 'wrap' }, [dek, aad], (header, parts) => ({
      ...WrapReply.parse(header),
      wrapped: copyOf(parts[0]),
    }));
  }

  /** Resolves with the DEK in memory of its own, which the caller wipes. Throws hsm_refused on a wrong AAD. */
  unwrap(wrapped: Buffer, aad: Buffer, kek: string): Promise<Buffer> {
    const take = (_header: unknown, parts: readonly Buffer[]) => copyOf(parts[0]);
    const unwrapped = this.#keyholders.ask({ verb: 'unwrap', kek }, [wrapped, aad], take);
    const going = this.#unwrapping.get(kek) ?? new Set();
    this.#unwrapping.set(kek, going.add(unwrapped));
    return unwrapped.finally(() => going.delete(unwrapped));
  }

  /** Resolves once what is being unwrapped with `kek` now is, one way or the other. */
  async unused(kek: string): Promise<void> {
    await Promise.allSettled(this.#unwrapping.get(kek) ?? []);
  }

  /** Has DEKs wrapped with `to` instead of `from`, in order; none comes here. Throws hsm_refused: all or nothing. */
  rewrap(from: string, to: string, deks: readonly BoundKey[]): Promise<Buffer[]> {
    const parts = deks.flatMap(({ wrapped, aad }) => [wrapped, aad]);
    return this.#keyholders.ask({ verb: 'rewrap', from, to }, parts, (_header, answered) => {
      if (answered.length !== deks.length) throw malformed();
      return answered.map(copyOf);
    });
  }

  /** ECDSA P-256 with SHA-256 under the audit key: 64 bytes, r‖s. */
  sign(message: Buffer): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'sign' }, [message], (_header, parts) => copyOf(parts[0]));
  }

  /** Makes a credential's key in the HSM; its public half (SPKI, DER). Throws hsm_unavailable, hsm_mechanism_missing. */
  makeCredentialKey(label: string, type: KeyType): Promise<Buffer> {
    const header = { verb: 'key.make', label, type } as const;
    return this.#keyholders.ask(header, [], (_header, parts) => copyOf(parts[0]), MAKING_DEADLINE_MS);
  }

  /** Puts a secret into the HSM as an HMAC key that does not leave it. Throws hsm_unavailable, hsm_refused, hsm_mechanism_missing. */
  importCredentialKey(label: string, key: Buffer): Promise<void> {
    return this.#keyholders.ask({ verb: 'key.import', label }, [key], () => undefined);
  }

  /** HMAC-SHA-256 by that key, which the caller wipes. Throws hsm_unavailable, hsm_key_missing. */
  macWithCredentialKey(label: string, message: Buffer): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'key.mac', label }, [message], (_header, parts) => copyOf(parts[0]));
  }

  /** The public half of that key. Throws hsm_unavailable, hsm_key_missing. */
  credentialPublicKey(label: string): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'key.public', label }, [], (_header, parts) => copyOf(parts[0]));
  }

  /** SHA-256 with PKCS #1 v1.5, or ECDSA as r‖s, by that key. Throws hsm_unavailable, hsm_key_missing. */
  signWithCredentialKey(label: string, message: Buffer): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'key.sign', label }, [message], (_header, parts) => copyOf(parts[0]));
  }

  /** Throws hsm_unavailable. */
  destroyCredentialKey(label: string): Promise<void> {
    return this.#keyholders.ask({ verb: 'key.destroy', label }, [], () => undefined);
  }

  /** Labels of the credentials' keys in the HSM. Throws hsm_unavailable. */
  credentialKeyLabels(): Promise<string[]> {
    return this.#keyholders.ask({ verb: 'key.list' }, [], (header) => KeysReply.parse(header).labels);
  }

  /** HMAC-SHA-256 of each message, 32 bytes each, in order. */
  mac(messages: readonly Buffer[]): Promise<Buffer[]> {
    return this.#keyholders.ask({ verb: 'mac' }, messages, (_header, parts) => {
      if (parts.length !== messages.length || parts.some((part) => part.length !== 32)) throw malformed();
      return parts.map(copyOf);
    });
  }

  /** The x coordinate (32 bytes) of ECDH between `point` and the intake key, which the caller wipes. */
  agree(point: Buffer): Promise<Buffer> {
    return this.#keyholders.ask({ verb: 'agree' }, [point], (_header, parts) => copyOf(parts[0]));
  }

  /** The anchor's bytes, undefined where none was ever written. */
  readAnchor(): Promise<Buffer | undefined> {
    return this.#keyholders.ask({ verb: 'anchor.read' }, [], (_header, parts) =>
      parts.length === 0 ? undefined : copyOf(parts[0]),
    );
  }

  writeAnchor(anchor: Buffer): Promise<void> {
    return this.#keyholders.ask({ verb: 'anchor.write' }, [anchor], () => undefined);
  }

  #known(): KeyholderInfo {
    const { info, problem } = this.#keyholders;
    if (!info) throw unavailable(problem ?? '');
    return info;
  }
}
