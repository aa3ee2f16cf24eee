import { z } from 'zod';

/** What the vault's control API answers, as far as the command line reads it; more keys pass through `--json`. */

export const StatusReply = z.looseObject({
  version: z.string(),
  isolation: z.string(),
  revision: z.number(),
  hsm: z.record(z.string(), z.unknown()),
  integrity: z.looseObject({ state: z.string(), failures: z.array(z.string()) }),
  processes: z.array(
    z.looseObject({
      kind: z.string(),
      name: z.string(),
      pid: z.number(),
      uid: z.number(),
      isolation: z.string(),
    }),
  ),
  proxy: z.string().optional(),
});
export type StatusReply = z.infer<typeof StatusReply>;

export const AgentsReply = z.array(z.looseObject({ id: z.string(), name: z.string(), created: z.string() }));
export const NewAgentReply = z.looseObject({ id: z.string(), name: z.string(), ca: z.string() });
export const AuthorityReply = z.looseObject({ pem: z.string() });
export const IntakeReply = z.looseObject({ publicKey: z.string().regex(/^04[0-9a-f]{128}$/) });
export const ServicesReply = z.array(
  z.looseObject({
    id: z.string(),
    name: z.string(),
    hosts: z.array(z.string()),
    scheme: z.string(),
    credentials: z.number(),
  }),
);
export const ServicesAddedReply = z.looseObject({ added: z.array(z.string()), updated: z.array(z.string()) });
export const ServiceReply = z.looseObject({
  id: z.string(),
  fields: z.array(
    z.looseObject({
      key: z.string(),
      label: z.string(),
      secret: z.boolean(),
      optional: z.boolean().optional(),
    }),
  ),
});
export type ServiceReply = z.infer<typeof ServiceReply>;
export const CredentialsReply = z.array(
  z.looseObject({
    id: z.string(),
    service: z.string(),
    label: z.string(),
    version: z.number(),
    agents: z.array(z.string()),
    created: z.string(),
  }),
);
export const NewCredentialReply = z.looseObject({
  id: z.string(),
  service: z.string(),
  label: z.string(),
  version: z.number(),
});
export const GrantsReply = z.array(
  z.looseObject({
    agent: z.string(),
    service: z.string(),
    label: z.string(),
    methods: z.array(z.string()),
    paths: z.array(z.string()),
  }),
);
export const NewGrantReply = z.looseObject({ id: z.string(), created: z.boolean() });
