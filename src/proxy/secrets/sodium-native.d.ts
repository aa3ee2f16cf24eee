/** The part of sodium-native (which ships no types) that the arena and backups use. */
declare module 'sodium-native' {
  const sodium: {
    /** Guarded, locked where the limit allows (it does not say), left out of core dumps. */
    sodium_malloc(bytes: number): Buffer;
    /** Throws where the pages cannot be locked. Locking pages twice is no error. */
    sodium_mlock(buffer: Uint8Array): void;
    /** Wipes, unlocks and detaches what `sodium_malloc` gave. */
    sodium_free(buffer: Buffer): void;
    /** Fills `out` with the argon2id of the passphrase; blocks. Throws where the memory is not to be had. */
    crypto_pwhash(
      out: Buffer,
      passphrase: Buffer,
      salt: Buffer,
      opslimit: number,
      memlimit: number,
      algorithm: number,
    ): void;
    readonly crypto_pwhash_OPSLIMIT_MODERATE: number;
    readonly crypto_pwhash_MEMLIMIT_MODERATE: number;
    readonly crypto_pwhash_ALG_ARGON2ID13: number;
  };
  export default sodium;
}
