/** What OAuth and other exchanges yield: templates may use it though nobody enters it. */
export const DERIVED: readonly string[] = ['access_token', 'installation_token', 'jwt', 'issued_certificate'];
