/** The part of sodium-native (which ships no types) that the arena uses. */
declare module 'sodium-native' {
  const sodium: {
    /** Guarded, locked where the limit allows (it does not say), left out of core dumps. */
    sodium_malloc(bytes: number): Buffer;
    /** Throws where the pages cannot be locked. Locking pages twice is no error. */
    sodium_mlock(buffer: Uint8Array): void;
    /** Wipes, unlocks and detaches what `sodium_malloc` gave. */
    sodium_free(buffer: Buffer): void;
  };
  export default sodium;
}
