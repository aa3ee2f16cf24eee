/**
 * Every error of Sallyport that a person or a program can meet has one stable code, listed here.
 * `status` is the HTTP status with which a worker or the API answers it; codes without one are met only on the
 * command line. A message says what happened and what to do, and never contains a secret.
 */
export const ERRORS = {
  // What an agent's request can meet (RFC 9110 statuses; body per RFC 9457).
  proxy_auth_required: { status: 407, retryable: false },
  policy_denied: { status: 403, retryable: false },
  host_not_granted: { status: 403, retryable: false },
  address_forbidden: { status: 403, retryable: false },
  credential_missing: { status: 403, retryable: false },
  injection_unsupported: { status: 501, retryable: false },
  integrity_failed: { status: 403, retryable: false },
  bad_request: { status: 400, retryable: false },
  method_not_supported: { status: 501, retryable: false },
  misdirected_request: { status: 421, retryable: false },
  uri_too_long: { status: 414, retryable: false },
  head_too_large: { status: 431, retryable: false },
  content_too_large: { status: 413, retryable: false },
  coding_not_supported: { status: 501, retryable: false },
  version_not_supported: { status: 505, retryable: false },
  expectation_failed: { status: 417, retryable: false },
  request_timeout: { status: 408, retryable: true },
  rate_limited: { status: 429, retryable: true },
  journal_unavailable: { status: 503, retryable: true },
  vault_unavailable: { status: 503, retryable: true },
  hsm_unavailable: { status: 503, retryable: true },
  /** A token that a request needs could not be made: for now, or (`refused`) until the owner does something. */
  exchange_failed: { status: 503, retryable: true },
  exchange_refused: { status: 502, retryable: false },
  draining: { status: 503, retryable: true },
  upstream_unresolved: { status: 502, retryable: true },
  upstream_unreachable: { status: 502, retryable: true },
  upstream_untrusted: { status: 502, retryable: false },
  /** The server asks for a client certificate, or does not accept the one that it was shown. */
  client_certificate_refused: { status: 502, retryable: false },
  upstream_invalid: { status: 502, retryable: true },
  upstream_closed: { status: 502, retryable: true },
  upstream_refused: { status: 503, retryable: true },
  upstream_timeout: { status: 504, retryable: true },
  client_closed: { status: 499, retryable: true },
  internal: { status: 500, retryable: true },
  // What the command line and the API can meet.
  invalid_argument: { status: 400, retryable: false },
  invalid_settings: { status: 400, retryable: false },
  invalid_service: { status: 422, retryable: false },
  invalid_credential: { status: 422, retryable: false },
  not_found: { status: 404, retryable: false },
  already_exists: { status: 409, retryable: false },
  ambiguous_label: { status: 409, retryable: false },
  sealed_box_invalid: { status: 422, retryable: false },
  worker_not_acknowledged: { status: 503, retryable: true },
  store_unavailable: { status: 503, retryable: true },
  store_version: { status: 500, retryable: false },
  vault_not_running: { status: 503, retryable: true },
  already_running: { status: 409, retryable: false },
  address_in_use: { status: 500, retryable: false },
  data_folder_exists: { status: 409, retryable: false },
  data_folder_missing: { status: 404, retryable: false },
  data_folder_unsafe: { status: 500, retryable: false },
  isolation_unavailable: { status: 500, retryable: false },
  hsm_module_missing: { status: 500, retryable: false },
  hsm_token_missing: { status: 500, retryable: false },
  hsm_token_wrong: { status: 500, retryable: false },
  hsm_pin_missing: { status: 500, retryable: false },
  hsm_pin_unsafe: { status: 500, retryable: false },
  hsm_pin_wrong: { status: 500, retryable: false },
  hsm_key_missing: { status: 500, retryable: false },
  hsm_mechanism_missing: { status: 500, retryable: false },
  hsm_refused: { status: 500, retryable: false },
  backup_invalid: { status: 422, retryable: false },
  audit_broken: { status: 500, retryable: false },
  client_untrusting: { status: 500, retryable: false },
  // What two of our processes can meet on a channel.
  channel_closed: { status: 503, retryable: true },
  channel_timeout: { status: 503, retryable: true },
  channel_malformed: { status: 500, retryable: false },
} as const satisfies Record<string, { status: number; retryable: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

/** True where `value` is one of the stable codes: for what arrives over a channel or the API. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}

/**
 * The one error class. `message` is a whole sentence (what happened, what to do) and is safe to show:
 * callers never put secret bytes, or text from a secret, into it.
 */
export class SallyportError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'SallyportError';
    this.code = code;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}
