/* Encrypting, wrapping and signing, as other tokens do it or wrongly. */
#include "shim.h"

#include <string.h>

/* The operation that an Init has begun and that is ours to do. One session is in use at a time. */
static struct {
  enum { THEIRS, GCM_IV, GCM_IV_FIRST, CCM, YUBICO, KWP, OAEP } kind;
  cipher c;
  CK_BYTE *iv;
  CK_BYTE aad[512];
  CK_ULONG aad_len;
} now;

static void keep_aad(const CK_BYTE *aad, CK_ULONG length) {
  now.aad_len = length < sizeof now.aad ? length : sizeof now.aad;
  memcpy(now.aad, aad, now.aad_len);
}

static CK_RV real_gcm(int decrypt, CK_BYTE *iv) {
  gcm_params parameters = {iv, 12, 96, now.aad, now.aad_len, 128};
  CK_MECHANISM gcm = {CKM_AES_GCM, &parameters, sizeof parameters};
  return decrypt ? real->C_DecryptInit(now.c.session, &gcm, now.c.key)
                 : real->C_EncryptInit(now.c.session, &gcm, now.c.key);
}

static int zeros(const CK_BYTE *bytes, CK_ULONG length) {
  for (CK_ULONG i = 0; i < length; i++) {
    if (bytes[i]) return 0;
  }
  return 1;
}

/* Takes the operation where it is ours, or hands it on. */
static CK_RV begin(CK_SESSION_HANDLE session, CK_MECHANISM *m, CK_OBJECT_HANDLE key, int decrypt) {
  memset(&now, 0, sizeof now);
  now.c = (cipher){session, key};
  gcm_params *gcm = m->pParameter;
  int own_iv = EMULATES("hsm-iv") || EMULATES("constant-iv") || EMULATES("cloudhsm");
  if (m->mechanism == CKM_AES_GCM && own_iv && !decrypt) {
    if (gcm->iv_len != 12 || !zeros(gcm->iv, 12)) return CKR_MECHANISM_PARAM_INVALID;
    now.kind = GCM_IV;
    now.iv = gcm->iv;
    keep_aad(gcm->aad, gcm->aad_len);
    return CKR_OK;
  }
  if (m->mechanism == CKM_AES_GCM && EMULATES("ignored-aad")) {
    now.aad_len = 0;
    return real_gcm(decrypt, gcm->iv);
  }
  if (m->mechanism == CKM_CLOUDHSM_GCM && EMULATES("cloudhsm")) {
    if (gcm->iv != NULL || gcm->iv_len != 0) return CKR_MECHANISM_PARAM_INVALID;
    now.kind = GCM_IV_FIRST;
    keep_aad(gcm->aad, gcm->aad_len);
    return CKR_OK;
  }
  if (m->mechanism == CKM_AES_CCM && EMULATES("ccm")) {
    ccm_params *p = m->pParameter;
    if (p->nonce_len != 13 || p->mac_len != 16) return CKR_MECHANISM_PARAM_INVALID;
    now.kind = CCM;
    now.iv = p->nonce;
    keep_aad(p->aad, p->aad_len);
    return CKR_OK;
  }
  if (m->mechanism == CKM_YUBICO_CCM && EMULATES("yubihsm")) {
    now.kind = YUBICO;
    return m->pParameter == NULL ? CKR_OK : CKR_MECHANISM_PARAM_INVALID;
  }
  if (m->mechanism == CKM_KWP && EMULATES("kwp-encrypt")) {
    now.kind = KWP;
    return CKR_OK;
  }
  oaep_params *oaep = m->pParameter;
  if (m->mechanism == CKM_RSA_PKCS_OAEP && oaep->hash == CKM_SHA256 && EMULATES("oaep-sha256") && decrypt) {
    now.kind = OAEP;
    return CKR_OK;
  }
  return decrypt ? real->C_DecryptInit(session, m, key) : real->C_EncryptInit(session, m, key);
}

CK_RV my_C_EncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
  RULE("C_EncryptInit");
  return begin(session, mechanism, key, 0);
}

CK_RV my_C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
  RULE("C_DecryptInit");
  return begin(session, mechanism, key, 1);
}

static CK_RV own_iv_encrypt(CK_BYTE *iv, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_RV rv = real->C_GenerateRandom(now.c.session, iv, 12);
  if (EMULATES("constant-iv")) memset(iv, 7, 12);
  if (rv == CKR_OK) rv = real_gcm(0, iv);
  return rv == CKR_OK ? real->C_Encrypt(now.c.session, in, in_len, out, out_len) : rv;
}

static CK_RV encrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_RV rv;
  CK_ULONG room;
  switch (now.kind) {
    case GCM_IV:
      return own_iv_encrypt(now.iv, in, in_len, out, out_len);
    case GCM_IV_FIRST:
      room = *out_len - 12;
      rv = own_iv_encrypt(out, in, in_len, out + 12, &room);
      *out_len = room + 12;
      return rv;
    case CCM:
      return ccm(now.c, 0, now.iv, now.aad, now.aad_len, in, in_len, out, out_len);
    case YUBICO:
      room = *out_len - 13;
      rv = real->C_GenerateRandom(session, out, 13);
      if (rv == CKR_OK) rv = ccm(now.c, 0, out, NULL, 0, in, in_len, out + 13, &room);
      *out_len = room + 13;
      return rv;
    case KWP:
      return kwp_wrap(now.c, in, in_len, out, out_len);
    default:
      return real->C_Encrypt(session, in, in_len, out, out_len);
  }
}

static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_RV rv;
  switch (now.kind) {
    case GCM_IV_FIRST:
      rv = real_gcm(1, in);
      return rv == CKR_OK ? real->C_Decrypt(session, in + 12, in_len - 12, out, out_len) : rv;
    case CCM:
      return ccm(now.c, 1, now.iv, now.aad, now.aad_len, in, in_len, out, out_len);
    case YUBICO:
      rv = ccm(now.c, 1, in, NULL, 0, in + 13, in_len - 13, out, out_len);
      return rv == CKR_ENCRYPTED_DATA_INVALID ? CKR_FUNCTION_FAILED : rv;
    case KWP:
      return kwp_unwrap(now.c, in, in_len, out, out_len);
    case OAEP:
      return oaep_sha256(now.c, in, in_len, out, out_len);
    default:
      return real->C_Decrypt(session, in, in_len, out, out_len);
  }
}

static CK_RV spoil(const char *function, CK_RV rv, CK_BYTE *out, CK_ULONG *out_len) {
  if (rv == CKR_OK && out && asked("short", function)) --*out_len;
  if (rv == CKR_OK && out && asked("garble", function)) out[*out_len / 2] ^= 1;
  return rv;
}

/* A call that fails ends its operation all the same (PKCS #11 v2.40, 5.2). */
#define RULE_AND_END(name, call)  \
  do {                            \
    CK_RV ruled = rule(name);     \
    if (ruled != CKR_OK) {        \
      call;                       \
      return ruled;               \
    }                             \
  } while (0)

CK_RV my_C_Encrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  RULE_AND_END("C_Encrypt", encrypt(session, in, in_len, out, out_len));
  return spoil("C_Encrypt", encrypt(session, in, in_len, out, out_len), out, out_len);
}

CK_RV my_C_Decrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  RULE_AND_END("C_Decrypt", decrypt(session, in, in_len, out, out_len));
  return spoil("C_Decrypt", decrypt(session, in, in_len, out, out_len), out, out_len);
}

CK_RV my_C_Sign(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  RULE_AND_END("C_Sign", real->C_Sign(session, in, in_len, out, out_len));
  return spoil("C_Sign", real->C_Sign(session, in, in_len, out, out_len), out, out_len);
}

CK_RV my_C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE key,
                   CK_BYTE *out, CK_ULONG *out_len) {
  RULE("C_WrapKey");
  CK_ULONG room = *out_len;
  CK_RV rv = real->C_WrapKey(session, mechanism, kek, key, out, out_len);
  if (rv == CKR_OK && EMULATES("pkcs7-wrap") && out && room >= *out_len + 8) *out_len += 8;
  return spoil("C_WrapKey", rv, out, out_len);
}
