/*
 * A PKCS#11 module around another, for tests: it fails, waits, crashes or lies when told to, and can do what tokens of
 * other makers do. It lies in a folder with `real.so` (a link to the wrapped module) and, if it is to do anything,
 * `control`, a directive a line:
 *
 *   fail FUNCTION RV [TIMES]     answer RV and do nothing      delay FUNCTION MS [TIMES]   wait before the call
 *   abort FUNCTION               as an assertion does          crash FUNCTION              as a wild pointer does
 *   exit FUNCTION                end the process              die FUNCTION                end it when the call is done
 *   hide MECHANISM               not listed
 *   short FUNCTION               C_Sign, C_Encrypt, C_Decrypt, C_WrapKey give a byte less
 *   garble FUNCTION              ... or one bit wrong
 *   empty slots                  no token is there             relabel token               it has another label
 *   lie extractable              every key says that it could leave the token
 *   emulate hsm-iv               AES-GCM takes no IV but zeros, and writes its own over them, in C_Encrypt (AWS CloudHSM)
 *   emulate constant-iv          ... and it is always the same
 *   emulate cloudhsm             ... and the mechanism that puts the IV first is there too
 *   emulate ignored-aad          AES-GCM that forgets the AAD
 *   emulate ccm                  AES-CCM
 *   emulate kwp-encrypt          RFC 5649 by C_Encrypt, as CKM_AES_KEY_WRAP_KWP
 *   emulate pkcs7-wrap           CKM_AES_KEY_WRAP_PAD gives 8 bytes more
 *   emulate oaep-sha256          RSA-OAEP with SHA-256
 *   emulate yubihsm              the mechanisms, templates and answers of a YubiHSM 2
 *   emulate no-session-keys      every key must be stored
 *   emulate no-data-objects      data objects are refused (AWS CloudHSM)
 *
 * RV and MECHANISM in C's notation. Each call is noted in the file `calls`, where that is there.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST ours;

#define PASS(name, parameters, arguments) \
  static CK_RV my_##name parameters {     \
    RULE(#name);                          \
    CK_RV done = real->name arguments;    \
    if (asked("die", #name)) _exit(3);    \
    return done;                          \
  }

PASS(C_Initialize, (void *a), (a))
PASS(C_Finalize, (void *a), (a))
PASS(C_OpenSession, (CK_SLOT_ID i, CK_FLAGS f, void *a, CK_NOTIFY n, CK_SESSION_HANDLE *s), (i, f, a, n, s))
PASS(C_Login, (CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR *p, CK_ULONG l), (s, u, p, l))
PASS(C_Logout, (CK_SESSION_HANDLE s), (s))
PASS(C_SetPIN, (CK_SESSION_HANDLE s, CK_UTF8CHAR *o, CK_ULONG ol, CK_UTF8CHAR *n, CK_ULONG nl), (s, o, ol, n, nl))
PASS(C_SignInit, (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k), (s, m, k))
PASS(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), (s, o))
PASS(C_FindObjectsInit, (CK_SESSION_HANDLE s, CK_ATTRIBUTE *a, CK_ULONG n), (s, a, n))
PASS(C_DeriveKey,
     (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k, CK_ATTRIBUTE *a, CK_ULONG n, CK_OBJECT_HANDLE *o),
     (s, m, k, a, n, o))
PASS(C_UnwrapKey,
     (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k, CK_BYTE *w, CK_ULONG l, CK_ATTRIBUTE *a, CK_ULONG n,
      CK_OBJECT_HANDLE *o),
     (s, m, k, w, l, a, n, o))

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
  if (real == NULL) {
    Dl_info info;
    char path[4096];
    dladdr((void *) C_GetFunctionList, &info);
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/real.so", (int) (slash - info.dli_fname), info.dli_fname);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CK_RV (*get)(CK_FUNCTION_LIST **) = module ? (CK_RV(*)(CK_FUNCTION_LIST **)) dlsym(module, "C_GetFunctionList") : NULL;
    if (get == NULL || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
    ours = *real;
#define OURS(name) ours.name = my_##name
    OURS(C_Initialize), OURS(C_Finalize), OURS(C_GetSlotList), OURS(C_GetTokenInfo), OURS(C_GetMechanismList);
    OURS(C_GetMechanismInfo), OURS(C_OpenSession), OURS(C_Login), OURS(C_Logout), OURS(C_SetPIN), OURS(C_SignInit);
    OURS(C_Sign), OURS(C_CreateObject), OURS(C_DestroyObject), OURS(C_FindObjectsInit), OURS(C_GetAttributeValue);
    OURS(C_GenerateKey), OURS(C_GenerateKeyPair), OURS(C_EncryptInit), OURS(C_Encrypt), OURS(C_DecryptInit);
    OURS(C_Decrypt), OURS(C_WrapKey), OURS(C_UnwrapKey), OURS(C_DeriveKey);
  }
  *list = &ours;
  return CKR_OK;
}
