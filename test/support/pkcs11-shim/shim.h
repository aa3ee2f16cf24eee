/* What the parts of the shim share. See shim.c. */
#ifndef SHIM_H
#define SHIM_H

#include <stddef.h>

#include "pkcs11.h"

#define CKM_KWP 0x210bUL
#define CKM_CLOUDHSM_GCM 0x80001087UL
#define CKM_YUBICO_CCM 0xd9554204UL
#define CKK_YUBICO_AES256_CCM 0xd955422aUL

/* PKCS #11 v2.40 and later; the header may be older. */
typedef struct {
  CK_BYTE *iv;
  CK_ULONG iv_len, iv_bits;
  CK_BYTE *aad;
  CK_ULONG aad_len, tag_bits;
} gcm_params;
typedef struct {
  CK_ULONG data_len;
  CK_BYTE *nonce;
  CK_ULONG nonce_len;
  CK_BYTE *aad;
  CK_ULONG aad_len, mac_len;
} ccm_params;
typedef struct {
  CK_ULONG hash, mgf, source;
  void *source_data;
  CK_ULONG source_len;
} oaep_params;

/* The wrapped module. */
extern CK_FUNCTION_LIST *real;

/* control.c: what the control file asks for. */
CK_RV rule(const char *function);
int asked(const char *directive, const char *argument);
int for_each_asked(const char *directive, int (*use)(const char *argument, void *), void *context);

#define RULE(name)                     \
  do {                                 \
    CK_RV ruled = rule(name);          \
    if (ruled != CKR_OK) return ruled; \
  } while (0)
#define EMULATES(what) asked("emulate", what)

/* offers.c and encrypt.c: the calls that are more than handed on. */
CK_RV my_C_GetSlotList(CK_BBOOL, CK_SLOT_ID *, CK_ULONG *);
CK_RV my_C_GetTokenInfo(CK_SLOT_ID, CK_TOKEN_INFO *);
CK_RV my_C_GetMechanismList(CK_SLOT_ID, CK_MECHANISM_TYPE *, CK_ULONG *);
CK_RV my_C_GetMechanismInfo(CK_SLOT_ID, CK_MECHANISM_TYPE, CK_MECHANISM_INFO *);
CK_RV my_C_CreateObject(CK_SESSION_HANDLE, CK_ATTRIBUTE *, CK_ULONG, CK_OBJECT_HANDLE *);
CK_RV my_C_GenerateKey(CK_SESSION_HANDLE, CK_MECHANISM *, CK_ATTRIBUTE *, CK_ULONG, CK_OBJECT_HANDLE *);
CK_RV my_C_GenerateKeyPair(CK_SESSION_HANDLE, CK_MECHANISM *, CK_ATTRIBUTE *, CK_ULONG, CK_ATTRIBUTE *, CK_ULONG,
                           CK_OBJECT_HANDLE *, CK_OBJECT_HANDLE *);
CK_RV my_C_GetAttributeValue(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, CK_ATTRIBUTE *, CK_ULONG);
CK_RV my_C_EncryptInit(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE);
CK_RV my_C_Encrypt(CK_SESSION_HANDLE, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *);
CK_RV my_C_DecryptInit(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE);
CK_RV my_C_Decrypt(CK_SESSION_HANDLE, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *);
CK_RV my_C_Sign(CK_SESSION_HANDLE, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *);
CK_RV my_C_WrapKey(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE, CK_BYTE *, CK_ULONG *);

/* modes.c: what the wrapped module cannot do, made of what it can. Each with the length in and out as PKCS #11 has it. */
typedef struct {
  CK_SESSION_HANDLE session;
  CK_OBJECT_HANDLE key;
} cipher;
CK_RV ccm(cipher c, int decrypt, const CK_BYTE nonce[13], const CK_BYTE *aad, CK_ULONG aad_len, const CK_BYTE *in,
          CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV kwp_wrap(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV kwp_unwrap(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV oaep_sha256(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len);

#endif
