import { z } from 'zod';
import { KeyType } from '../../channel/messages/keyholder.ts';

/** What the control API is sent. Bounded: a text that is longer is an error, not a burden. */
const Name = z.string().min(1).max(253);
const Label = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/,
    'a label has letters, digits, ".", "_", "@" and "-", at most 63',
  );

/** SHA-256 of a token, as bytes. */
export const TokenHash = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'it is the SHA-256 of the token in lower-case hex')
  .transform((hex) => Buffer.from(hex, 'hex'));

const Base64 = z
  .string()
  .max(128 * 1024)
  .regex(/^[A-Za-z0-9+/]+={0,2}$/, 'it is not base64')
  .transform((text) => Buffer.from(text, 'base64'));

const Method = z.string().regex(/^[A-Z][A-Z-]{0,31}$/, 'a method is upper-case, such as GET');
/** A prefix of a normalised path: dot segments would never match. */
const PathPrefix = z
  .string()
  .max(2048)
  .regex(/^\/[!-~]*$/, 'a path begins with / and is visible ASCII')
  .refine((path) => !/(^|\/)\.\.?(\/|$)/.test(path), 'a path has no "." or ".." segments');

export const ByName = z.object({ name: Name });
export const ById = z.object({ id: z.string().min(1).max(64) });

const Unlisted = z.enum(['deny', 'tunnel']);

export const NewAgent = z.strictObject({
  name: z.string().max(253),
  tokenHash: TokenHash,
  unlisted: Unlisted.default('deny'),
});
export const AgentChange = z.strictObject({ unlisted: Unlisted });
export const NewToken = z.strictObject({ tokenHash: TokenHash });
export const NewServices = z.strictObject({ services: z.array(z.unknown()).min(1).max(1_000) });

export const NewCredential = z.strictObject({
  service: Name,
  label: Label.default('default'),
  publicFields: z.record(z.string().max(64), z.string().max(4096)).default({}),
  sealed: z.strictObject({ enc: Base64, ciphertext: Base64 }),
  hsm: z.boolean().default(false),
  agents: z.array(Name).max(1_000).default([]),
});

export const NewKey = NewCredential.omit({ sealed: true, hsm: true }).extend({ type: KeyType.optional() });

export const NewGrant = z.strictObject({
  agent: Name,
  service: Name,
  label: Label.optional(),
  methods: z.array(Method).max(32).optional(),
  paths: z.array(PathPrefix).max(64).optional(),
});

export const OldGrant = z.strictObject({ agent: Name, service: Name, label: Label.optional() });
