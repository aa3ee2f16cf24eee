/* What the token seems to offer, and how it takes the making of keys. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

CK_RV my_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count) {
  RULE("C_GetSlotList");
  if (!asked("empty", "slots")) return real->C_GetSlotList(present, list, count);
  *count = 0;
  return CKR_OK;
}

CK_RV my_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
  RULE("C_GetTokenInfo");
  CK_RV rv = real->C_GetTokenInfo(slot, info);
  if (rv == CKR_OK && asked("relabel", "token")) info->label[0] = '!';
  return rv;
}

static const CK_ULONG YUBIHSM[] = {CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA,
                                   CKM_ECDH1_DERIVE,           CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_KEY_PAIR_GEN};

static int hidden(const char *argument, void *mechanism) {
  return strtoul(argument, NULL, 0) == *(CK_ULONG *) mechanism;
}

static int listed(CK_MECHANISM_TYPE mechanism) {
  if (for_each_asked("hide", hidden, &mechanism)) return 0;
  if (!EMULATES("yubihsm")) return 1;
  for (size_t i = 0; i < sizeof YUBIHSM / sizeof *YUBIHSM; i++) {
    if (YUBIHSM[i] == mechanism) return 1;
  }
  return 0;
}

CK_RV my_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count) {
  RULE("C_GetMechanismList");
  CK_MECHANISM_TYPE theirs[256];
  CK_ULONG all = 256, room = *count;
  CK_RV rv = real->C_GetMechanismList(slot, theirs, &all);
  if (rv != CKR_OK) return rv;
  CK_ULONG kept = 0;
  for (CK_ULONG i = 0; i < all; i++) {
    if (listed(theirs[i])) theirs[kept++] = theirs[i];
  }
  if (EMULATES("cloudhsm")) theirs[kept++] = CKM_CLOUDHSM_GCM;
  if (EMULATES("ccm")) theirs[kept++] = CKM_AES_CCM;
  if (EMULATES("kwp-encrypt")) theirs[kept++] = CKM_KWP;
  if (EMULATES("yubihsm")) theirs[kept++] = CKM_YUBICO_CCM;
  *count = kept;
  if (list == NULL) return CKR_OK;
  if (room < kept) return CKR_BUFFER_TOO_SMALL;
  memcpy(list, theirs, kept * sizeof *list);
  return CKR_OK;
}

CK_RV my_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE mechanism, CK_MECHANISM_INFO *info) {
  RULE("C_GetMechanismInfo");
  if (mechanism != CKM_CLOUDHSM_GCM && mechanism != CKM_AES_CCM && mechanism != CKM_KWP && mechanism != CKM_YUBICO_CCM) {
    return real->C_GetMechanismInfo(slot, mechanism, info);
  }
  *info = (CK_MECHANISM_INFO){16, 32, CKF_ENCRYPT | CKF_DECRYPT};
  return CKR_OK;
}

static CK_ATTRIBUTE *attribute(CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type) {
  for (CK_ULONG i = 0; i < count; i++) {
    if (template[i].type == type) return &template[i];
  }
  return NULL;
}

static CK_RV stored_only(CK_ATTRIBUTE *template, CK_ULONG count) {
  CK_ATTRIBUTE *stored = attribute(template, count, CKA_TOKEN);
  int needed = EMULATES("no-session-keys") || EMULATES("yubihsm");
  return needed && stored && !*(CK_BBOOL *) stored->pValue ? CKR_ATTRIBUTE_VALUE_INVALID : CKR_OK;
}

/* A YubiHSM 2 has key types of its own, takes no CKA_VALUE_LEN, and takes a CKA_ID of two bytes for its own number. */
static CK_RV yubihsm_key(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key) {
  CK_ATTRIBUTE *type = attribute(template, count, CKA_KEY_TYPE), *id = attribute(template, count, CKA_ID);
  CK_ULONG kind = type ? *(CK_ULONG *) type->pValue : 0, length = 32;
  if (attribute(template, count, CKA_VALUE_LEN)) return CKR_ATTRIBUTE_TYPE_INVALID;
  if (kind != CKK_SHA256_HMAC && kind != CKK_YUBICO_AES256_CCM) return CKR_TEMPLATE_INCONSISTENT;
  if (id && id->ulValueLen != 2) return CKR_ATTRIBUTE_VALUE_INVALID;
  CK_MECHANISM generate = {kind == CKK_SHA256_HMAC ? CKM_GENERIC_SECRET_KEY_GEN : CKM_AES_KEY_GEN, NULL, 0};
  CK_ULONG as = kind == CKK_SHA256_HMAC ? CKK_GENERIC_SECRET : CKK_AES;
  CK_ATTRIBUTE theirs[32];
  memcpy(theirs, template, count * sizeof *template);
  attribute(theirs, count, CKA_KEY_TYPE)->pValue = &as;
  theirs[count++] = (CK_ATTRIBUTE){CKA_VALUE_LEN, &length, sizeof length};
  return real->C_GenerateKey(session, &generate, theirs, count, key);
}

/* It takes secrets from outside as keys for HMAC alone, of 64 bytes at most. */
static CK_RV yubihsm_secret(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key) {
  CK_ATTRIBUTE *value = attribute(template, count, CKA_VALUE);
  if (*(CK_ULONG *) attribute(template, count, CKA_KEY_TYPE)->pValue != CKK_SHA256_HMAC) return CKR_TEMPLATE_INCONSISTENT;
  if (value && value->ulValueLen > 64) return CKR_ATTRIBUTE_VALUE_INVALID;
  CK_ULONG as = CKK_GENERIC_SECRET;
  CK_ATTRIBUTE theirs[32];
  memcpy(theirs, template, count * sizeof *template);
  attribute(theirs, count, CKA_KEY_TYPE)->pValue = &as;
  return real->C_CreateObject(session, theirs, count, key);
}

CK_RV my_C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object) {
  RULE("C_CreateObject");
  CK_ATTRIBUTE *class = attribute(template, count, CKA_CLASS);
  int data = class && *(CK_OBJECT_CLASS *) class->pValue == CKO_DATA;
  if (data && EMULATES("no-data-objects")) return CKR_ATTRIBUTE_VALUE_INVALID;
  CK_ATTRIBUTE *type = attribute(template, count, CKA_KEY_TYPE);
  /* An AES key is what the tests put in as the KEK that C_GenerateKey would have made. */
  int secret = type && *(CK_KEY_TYPE *) type->pValue != CKK_AES && EMULATES("yubihsm");
  CK_RV done = secret ? yubihsm_secret(session, template, count, object)
                      : real->C_CreateObject(session, template, count, object);
  if (asked("die", "C_CreateObject")) _exit(3);
  return done;
}

CK_RV my_C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
                              CK_OBJECT_HANDLE *key) {
  RULE("C_GenerateKey");
  CK_RV rv = stored_only(template, count);
  if (rv != CKR_OK) return rv;
  if (EMULATES("yubihsm")) return yubihsm_key(session, template, count, key);
  return real->C_GenerateKey(session, mechanism, template, count, key);
}

CK_RV my_C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *open, CK_ULONG opens,
                                  CK_ATTRIBUTE *closed, CK_ULONG closes, CK_OBJECT_HANDLE *public,
                                  CK_OBJECT_HANDLE *private) {
  RULE("C_GenerateKeyPair");
  CK_RV rv = stored_only(closed, closes);
  if (rv != CKR_OK) return rv;
  return real->C_GenerateKeyPair(session, mechanism, open, opens, closed, closes, public, private);
}

CK_RV my_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                    CK_ULONG count) {
  RULE("C_GetAttributeValue");
  CK_RV rv = real->C_GetAttributeValue(session, object, template, count);
  CK_ATTRIBUTE *leaves = attribute(template, count, CKA_EXTRACTABLE);
  if (rv == CKR_OK && leaves && leaves->pValue && asked("lie", "extractable")) *(CK_BBOOL *) leaves->pValue = CK_TRUE;
  return rv;
}
