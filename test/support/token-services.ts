/** Services whose token is made by an exchange, one for each kind; `token.test` and `app.test` are token endpoints. */
const bearer = (name: string) => ({ in: 'header', name: 'Authorization', value: `Bearer {${name}}` });
const certificate = (name: string) => ({ in: 'client_certificate', value: `{${name}}` });
const exchange = (flow: string, token: string, place: (name: string) => object = bearer) => ({
  in: 'exchange',
  flow,
  // biome-ignore lint/suspicious/noThenProperty: the catalog's key; it holds an object, which no await calls.
  then: place(token),
});
const oauth2 = (grant: string, client_auth: string, more: object = {}) => ({
  token_url: 'https://token.test/token',
  grant,
  client_auth,
  ...more,
});
const CLIENT = [{ key: 'client_id', secret: false }, { key: 'client_secret' }];

export const TOKEN_SERVICES = [
  {
    id: 'robot',
    hosts: [{ pattern: 'robot.test' }],
    auth: {
      scheme: 'oauth2',
      inject: [bearer('access_token'), { in: 'header', name: 'X-Tenant', value: '{tenant}' }],
      oauth2: oauth2('client_credentials', 'basic|body', { extra_params: { account: '{tenant}' } }),
    },
    fields: [...CLIENT, { key: 'tenant', secret: false }, { key: 'scope', secret: false, optional: true }],
  },
  {
    id: 'consent',
    hosts: [{ pattern: 'consent.test' }],
    auth: {
      scheme: 'oauth2',
      inject: [bearer('access_token')],
      oauth2: oauth2('authorization_code', 'body'),
    },
    fields: [...CLIENT, { key: 'refresh_token', optional: true }],
  },
  {
    id: 'account',
    hosts: [{ pattern: 'account.test' }],
    auth: {
      scheme: 'gcp_service_account',
      inject: [exchange('jwt-bearer RS256 -> https://token.test/token', 'access_token')],
    },
    fields: [
      { key: 'key_json' },
      { key: 'scopes', secret: false },
      { key: 'client_email', secret: false, optional: true },
    ],
  },
  {
    id: 'app',
    hosts: [{ pattern: 'app.test' }],
    auth: {
      scheme: 'github_app',
      inject: [
        exchange(
          'jwt-rs256 -> POST /app/installations/{installation_id}/access_tokens',
          'installation_token',
        ),
      ],
    },
    fields: [
      { key: 'app_id', secret: false },
      { key: 'installation_id', secret: false },
      { key: 'private_key' },
    ],
  },
  {
    id: 'hub',
    hosts: [{ pattern: 'hub.test' }],
    auth: {
      scheme: 'oauth2',
      inject: [bearer('jwt')],
      oauth2: oauth2('password_like', 'json-body'),
    },
    fields: [{ key: 'username', secret: false }, { key: 'token' }],
  },
  {
    id: 'signed',
    hosts: [{ pattern: 'signed.test' }],
    auth: {
      scheme: 'jwt_per_request',
      inject: [exchange('per-request JWT', 'jwt')],
    },
    fields: [{ key: 'key_name', secret: false }, { key: 'private_key' }],
  },
  {
    id: 'warehouse',
    hosts: [{ pattern: 'warehouse.test' }],
    auth: { scheme: 'key_pair_jwt', inject: [exchange('jwt-rs256', 'jwt')] },
    fields: [
      { key: 'account', secret: false },
      { key: 'user', secret: false },
      { key: 'private_key' },
      { key: 'public_key_fingerprint', secret: false, optional: true },
    ],
  },
  {
    id: 'mutual',
    hosts: [{ pattern: 'mutual.test' }],
    auth: {
      scheme: 'client_certificate',
      inject: [exchange('x509', 'issued_certificate', certificate)],
    },
    fields: [{ key: 'private_key' }, { key: 'common_name', secret: false, optional: true }],
  },
  {
    id: 'shown',
    hosts: [{ pattern: 'shown.test' }],
    auth: { inject: [certificate('pem')] },
    fields: [{ key: 'pem' }],
  },
];

/** HOST:PORT of the services above and of their token endpoint. */
export const TOKEN_HOSTS = [
  ...TOKEN_SERVICES.map(({ hosts }) => `${hosts[0]?.pattern}:443`),
  'token.test:443',
];
