/**
 * The kinds of certificate that Sallyport makes, as data. README.md beside this file says why each field is as
 * it is; src/vault/authorities builds and signs them. All keys are P-256, all signatures ECDSA with SHA-256.
 */
export interface Profile {
  /** From notBefore to notAfter, both included (RFC 5280, 4.1.2.5). */
  readonly lifetimeMs: number;
  /** Set for an authority: how many authorities may stand below it. */
  readonly pathLength: number | null;
  readonly keyUsage: readonly ('digitalSignature' | 'keyCertSign' | 'cRLSign')[];
  /** The one extended key usage (RFC 5280, 4.2.1.12), if any. */
  readonly extendedKeyUsage: 'serverAuth' | 'clientAuth' | null;
}

const HOUR = 60 * 60 * 1000;
const DAY = 24 * HOUR;

/** An agent's root: installed in its trust store, used only to sign issuing authorities. */
export const ROOT: Profile = {
  lifetimeMs: 2 * 365 * DAY,
  pathLength: 1,
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: null,
};

/**
 * A root that takes the place of another: while both are trusted it also certifies its predecessor, which stands above
 * an issuing authority.
 */
export const SUCCESSOR: Profile = { ...ROOT, pathLength: 2 };

/** The old root's key under the new root, for clients that trust the new one alone: as bounded as what it signs. */
export const PREDECESSOR: Profile = {
  lifetimeMs: 7 * DAY,
  pathLength: 1,
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: 'serverAuth',
};

/** Signs leaves, for the hosts of the agent's grants alone (critical name constraints). */
export const ISSUING: Profile = {
  lifetimeMs: 7 * DAY,
  pathLength: 0,
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: 'serverAuth',
};

/** For one host, and the key of one worker. */
export const LEAF: Profile = {
  lifetimeMs: 24 * HOUR,
  pathLength: null,
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: 'serverAuth',
};

/** An authority for client certificates, whose key is a credential's: registered with the servers of its service. */
export const CLIENT_ROOT: Profile = {
  lifetimeMs: 10 * 365 * DAY,
  pathLength: 0,
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: 'clientAuth',
};

/** Shown to a service's servers. */
export const CLIENT: Profile = {
  lifetimeMs: HOUR,
  pathLength: null,
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: 'clientAuth',
};

/** Every certificate begins this long before it is made, for clients whose clocks are slow. */
export const BACKDATE_MS = 5 * 60 * 1000;
