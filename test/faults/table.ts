import { renameSync, rmSync, truncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorCode } from '../../src/errors.ts';
import type { Asked, Stage } from './stage.ts';

/** One fault of the HSM, how it is provoked, and what must follow. Values of CKR_ in PKCS #11 v2.40, 3.6. */
export interface Fault {
  readonly fault: string;
  /** Directives of the shim, or what is done for real. */
  readonly provoke: readonly string[] | ((stage: Stage) => void | Promise<void>);
  /** What is asked meanwhile: a DEK, unless another verb meets the fault. */
  readonly ask?: Asked;
  /** What the keyholder's caller sees. */
  readonly sees: 'an answer' | ErrorCode;
  /** What `health` says while it lasts. */
  readonly health?: { readonly state: 'ok' | 'failing' | 'stopped'; readonly error?: RegExp };
  /** How often a login is tried while it lasts, whatever is asked. */
  readonly logins?: number;
  /** Takes the fault away; the shim is told to do nothing more in any case. */
  readonly mend?: (stage: Stage) => void | Promise<void>;
  /** `at once`: the next request is answered. `by itself`: one within 6 s is. `restarted`: once the keyholder is. */
  readonly recovers: 'at once' | 'by itself' | 'restarted';
}

/** The session goes, so that everything must be opened again: where the second directive waits for it. */
const LOST = 'fail C_DecryptInit 0xb3';
const HEALTHY = { state: 'ok' } as const;
const FAILING = { state: 'failing', error: /HSM is lost/ } as const;

/** Answered within the same request, whichever handle, state or device the first call finds gone. */
const TRANSIENT: readonly (readonly [name: string, value: string, call: string, verb: Asked])[] = [
  ['CKR_SESSION_HANDLE_INVALID', '0xb3', 'C_DecryptInit', 'unwrap'],
  ['CKR_SESSION_CLOSED', '0xb0', 'C_SignInit', 'mac'],
  ['CKR_OBJECT_HANDLE_INVALID', '0x82', 'C_DecryptInit', 'unwrap'],
  ['CKR_KEY_HANDLE_INVALID', '0x60', 'C_EncryptInit', 'wrap'],
  ['CKR_USER_NOT_LOGGED_IN', '0x101', 'C_Sign', 'sign'],
  ['CKR_DEVICE_REMOVED', '0x32', 'C_Decrypt', 'unwrap'],
  ['CKR_DEVICE_ERROR', '0x30', 'C_DeriveKey', 'agree'],
  ['CKR_TOKEN_NOT_PRESENT', '0xe0', 'C_FindObjectsInit', 'anchor.read'],
  ['CKR_TOKEN_NOT_RECOGNIZED', '0xe1', 'C_Encrypt', 'wrap'],
  ['CKR_SLOT_ID_INVALID', '0x3', 'C_DecryptInit', 'unwrap'],
  ['CKR_CRYPTOKI_NOT_INITIALIZED', '0x190', 'C_DecryptInit', 'unwrap'],
  ['CKR_OPERATION_ACTIVE', '0x90', 'C_DecryptInit', 'unwrap'],
  ['CKR_OPERATION_NOT_INITIALIZED', '0x91', 'C_Decrypt', 'unwrap'],
  ['CKR_FUNCTION_FAILED', '0x6', 'C_Decrypt', 'unwrap'],
  ['CKR_HOST_MEMORY', '0x2', 'C_DecryptInit', 'unwrap'],
  ['CKR_FUNCTION_CANCELED', '0x50', 'C_DecryptInit', 'unwrap'],
  ['a vendor’s own value', '0x80000123', 'C_DecryptInit', 'unwrap'],
];

export const FAULTS: readonly Fault[] = [
  ...TRANSIENT.map(
    ([name, value, call, ask]): Fault => ({
      fault: `${call} answers ${name} once`,
      provoke: [`fail ${call} ${value} 1`],
      ask,
      sees: 'an answer',
      health: HEALTHY,
      recovers: 'at once',
    }),
  ),
  {
    fault: 'every call takes 100 ms',
    provoke: ['delay C_DecryptInit 100', 'delay C_Decrypt 100'],
    sees: 'an answer',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'the device says CKR_DEVICE_REMOVED to everything for a while',
    provoke: ['fail C_DecryptInit 0x32', 'fail C_OpenSession 0x32'],
    sees: 'hsm_unavailable',
    health: FAILING,
    logins: 0,
    recovers: 'by itself',
  },
  {
    fault: 'it has no free session (CKR_SESSION_COUNT) after the one was lost',
    provoke: [LOST, 'fail C_OpenSession 0xb1'],
    sees: 'hsm_unavailable',
    health: FAILING,
    recovers: 'by itself',
  },
  {
    fault: 'CKR_GENERAL_ERROR to everything, which is also what a wrong AAD gets',
    provoke: ['fail C_DecryptInit 0x5', 'fail C_EncryptInit 0x5'],
    sees: 'hsm_unavailable',
    health: FAILING,
    recovers: 'by itself',
  },
  {
    fault: 'CKR_GENERAL_ERROR to decrypting alone: taken for a refusal, nothing is opened again',
    provoke: ['fail C_Decrypt 0x5'],
    sees: 'hsm_refused',
    health: HEALTHY,
    logins: 0,
    recovers: 'at once',
  },
  {
    fault: 'CKR_ENCRYPTED_DATA_INVALID',
    provoke: ['fail C_Decrypt 0x40'],
    sees: 'hsm_refused',
    health: HEALTHY,
    logins: 0,
    recovers: 'at once',
  },
  {
    fault: 'CKR_AEAD_DECRYPT_FAILED, which is of PKCS #11 v3',
    provoke: ['fail C_Decrypt 0x35'],
    sees: 'hsm_refused',
    health: HEALTHY,
    logins: 0,
    recovers: 'at once',
  },
  {
    fault: 'CKR_MECHANISM_INVALID: new firmware has lost a mechanism',
    provoke: ['fail C_DecryptInit 0x70'],
    sees: 'hsm_mechanism_missing',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'CKR_KEY_FUNCTION_NOT_PERMITTED',
    provoke: ['fail C_SignInit 0x68'],
    ask: 'mac',
    sees: 'hsm_mechanism_missing',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'a MAC comes back a byte short',
    provoke: ['short C_Sign'],
    ask: 'mac',
    sees: 'hsm_unavailable',
    recovers: 'at once',
  },
  {
    fault: 'a DEK comes back a byte short',
    provoke: ['short C_Decrypt'],
    sees: 'hsm_refused',
    recovers: 'at once',
  },
  {
    fault: 'the device is back and signs wrongly',
    provoke: ['fail C_DecryptInit 0xb3 1', 'garble C_Sign'],
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /self-test at signing/ },
    recovers: 'by itself',
  },
  {
    fault: 'the device is back and decrypts wrongly',
    provoke: ['fail C_SignInit 0xb3 1', 'garble C_Decrypt'],
    ask: 'mac',
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /self-test at unwrapping with sallyport-kek-1/ },
    recovers: 'by itself',
  },
  {
    fault: 'the device is back and forgets the AAD',
    provoke: ['fail C_SignInit 0xb3 1', 'emulate ignored-aad'],
    ask: 'mac',
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /binding of sallyport-kek-1/ },
    recovers: 'by itself',
  },
  {
    fault: 'the device is back and says that its keys could leave it',
    provoke: [LOST, 'lie extractable'],
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /could leave the token/ },
    recovers: 'by itself',
  },
  {
    fault: 'another token is in the slot',
    provoke: [LOST, 'relabel token'],
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /shows no token faults/ },
    logins: 0,
    recovers: 'by itself',
  },
  {
    fault: 'the device is unplugged: no slot has a token',
    provoke: [LOST, 'empty slots'],
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /shows no token faults/ },
    logins: 0,
    recovers: 'by itself',
  },
  {
    fault: 'the library cannot be started again',
    provoke: [LOST, 'fail C_Initialize 0x5'],
    sees: 'hsm_unavailable',
    health: FAILING,
    recovers: 'by itself',
  },
  {
    fault: 'the library does not even end',
    provoke: ['fail C_DecryptInit 0xb3 1', 'fail C_Finalize 0x5 1'],
    sees: 'an answer',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'the token’s folder is moved away',
    provoke: ({ hsm }) => renameSync(hsm.tokens, `${hsm.tokens}.gone`),
    sees: 'hsm_unavailable',
    health: FAILING,
    mend: ({ hsm }) => renameSync(`${hsm.tokens}.gone`, hsm.tokens),
    recovers: 'by itself',
  },
  ...(['info', 'anchor.read', 'unwrap retired', 'rotate'] as const).map(
    (ask): Fault => ({
      fault: `the token’s folder is moved away, and ${ask} finds nothing where keys were`,
      provoke: ({ hsm }) => renameSync(hsm.tokens, `${hsm.tokens}.gone`),
      ask,
      sees: 'hsm_unavailable',
      health: FAILING,
      mend: ({ hsm }) => renameSync(`${hsm.tokens}.gone`, hsm.tokens),
      recovers: 'by itself',
    }),
  ),
  ...(['info', 'wrap', 'mac'] as const).map(
    (ask): Fault => ({
      fault: `another token of the same label stands in its place when ${ask} is asked: its PIN is not tried`,
      provoke: (stage) => stage.exchangeToken(),
      ask,
      sees: 'hsm_unavailable',
      health: { state: 'failing', error: /not the one of this data folder/ },
      logins: 0,
      mend: ({ hsm }) => {
        rmSync(hsm.tokens, { recursive: true });
        renameSync(`${hsm.tokens}.gone`, hsm.tokens);
      },
      recovers: 'by itself',
    }),
  ),
  {
    fault: 'the token is there, and empty',
    provoke: (stage) => stage.moveObjects(true),
    ask: 'info',
    sees: 'hsm_unavailable',
    health: { state: 'failing', error: /HSM is lost.*holds no key/ },
    mend: (stage) => stage.moveObjects(false),
    recovers: 'by itself',
  },
  {
    fault: 'a KEK is asked for that is not in the token, which is well: nothing is opened again',
    provoke: [],
    ask: 'unwrap retired',
    sees: 'hsm_key_missing',
    health: HEALTHY,
    logins: 0,
    recovers: 'at once',
  },
  {
    fault: 'the token’s file is empty after a power cut, until the backup is put back',
    provoke: (stage) => {
      truncateSync(stage.tokenFile());
      stage.shim.control(LOST);
    },
    sees: 'hsm_unavailable',
    health: FAILING,
    mend: (stage) => stage.restoreToken(),
    recovers: 'by itself',
  },
  {
    fault: 'the PIN file is empty when it must log in again',
    provoke: (stage) => {
      stage.writePin('');
      stage.shim.control(LOST);
    },
    sees: 'hsm_pin_missing',
    health: { state: 'failing', error: /PIN file is empty/ },
    logins: 0,
    mend: (stage) => stage.writePin(stage.hsm.pin),
    recovers: 'by itself',
  },
  {
    fault: 'the PIN is a wrong one when it must log in again',
    provoke: (stage) => {
      stage.writePin('x'.repeat(32));
      stage.shim.control(LOST);
    },
    sees: 'hsm_pin_wrong',
    health: { state: 'stopped', error: /CKR_PIN_INCORRECT/ },
    logins: 1,
    mend: (stage) => stage.writePin(stage.hsm.pin),
    recovers: 'restarted',
  },
  ...(
    [
      ['CKR_PIN_LOCKED', '0xa4', /locked/],
      ['CKR_PIN_EXPIRED', '0xa3', /CKR_PIN_EXPIRED/],
      ['CKR_USER_PIN_NOT_INITIALIZED', '0x102', /no user PIN/],
    ] as const
  ).map(
    ([name, value, error]): Fault => ({
      fault: `the login answers ${name}`,
      provoke: [LOST, `fail C_Login ${value}`],
      sees: 'hsm_pin_wrong',
      health: { state: 'stopped', error },
      logins: 1,
      recovers: 'restarted',
    }),
  ),
  {
    fault: 'somebody is logged in already: that login is ended and ours made',
    provoke: ['fail C_DecryptInit 0xb3 1', 'fail C_Login 0x100 1', 'fail C_Logout 0x101 0'],
    sees: 'an answer',
    health: HEALTHY,
    logins: 2,
    recovers: 'at once',
  },
  {
    fault: 'the login fails for a reason that is not the PIN',
    provoke: [LOST, 'fail C_Login 0x6'],
    sees: 'hsm_unavailable',
    health: FAILING,
    recovers: 'by itself',
  },
  {
    fault: 'the token is full when the anchor is written: the last one stands',
    provoke: ['fail C_CreateObject 0x31'],
    ask: 'anchor.write',
    sees: 'hsm_refused',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'the token is write-protected',
    provoke: ['fail C_CreateObject 0xe2'],
    ask: 'anchor.write',
    sees: 'hsm_refused',
    health: HEALTHY,
    recovers: 'at once',
  },
  {
    fault: 'the process is killed between the new anchor and the end of the old one',
    provoke: ['exit C_DestroyObject'],
    ask: 'anchor.write',
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'the process is killed while a KEK is made',
    provoke: ['exit C_GenerateKey'],
    ask: 'rotate',
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'the module aborts',
    provoke: ['abort C_Decrypt'],
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'the module reads where nothing is',
    provoke: ['crash C_SignInit'],
    ask: 'sign',
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'the module ends the process',
    provoke: ['exit C_EncryptInit'],
    ask: 'wrap',
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'the keyholder is killed',
    provoke: async ({ keyholder }) => {
      keyholder.process.kill('SIGKILL');
      await sleep(50);
    },
    sees: 'channel_closed',
    recovers: 'restarted',
  },
  {
    fault: 'a call hangs for 30 s: the caller gives up at its deadline and has the keyholder killed',
    provoke: ['delay C_DecryptInit 30000'],
    sees: 'channel_timeout',
    recovers: 'restarted',
  },
  {
    fault: 'the library hangs while it is started again',
    provoke: ['fail C_SignInit 0xb3 1', 'delay C_Initialize 30000'],
    ask: 'mac',
    sees: 'channel_timeout',
    recovers: 'restarted',
  },
  {
    fault: 'the keyholder is stopped',
    provoke: ({ keyholder }) => void keyholder.process.kill('SIGSTOP'),
    sees: 'channel_timeout',
    recovers: 'restarted',
  },
];
