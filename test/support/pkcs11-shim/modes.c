/*
 * Modes that SoftHSM lacks, made of its AES-ECB, raw RSA and SHA-256, so that they work with keys that never leave it.
 */
#include "shim.h"

#include <string.h>

static CK_RV block(cipher c, int decrypt, const CK_BYTE in[16], CK_BYTE out[16]) {
  CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
  CK_ULONG length = 16;
  CK_RV rv = decrypt ? real->C_DecryptInit(c.session, &ecb, c.key) : real->C_EncryptInit(c.session, &ecb, c.key);
  if (rv != CKR_OK) return rv;
  return decrypt ? real->C_Decrypt(c.session, (CK_BYTE *) in, 16, out, &length)
                 : real->C_Encrypt(c.session, (CK_BYTE *) in, 16, out, &length);
}

/* CBC-MAC over `length` bytes, padded with zeros to whole blocks. */
static CK_RV absorb(cipher c, CK_BYTE state[16], const CK_BYTE *data, CK_ULONG length) {
  for (CK_ULONG at = 0; at < length; at += 16) {
    for (CK_ULONG i = 0; i < 16 && at + i < length; i++) state[i] ^= data[at + i];
    CK_RV rv = block(c, 0, state, state);
    if (rv != CKR_OK) return rv;
  }
  return CKR_OK;
}

static CK_RV ccm_tag(cipher c, const CK_BYTE *nonce, const CK_BYTE *aad, CK_ULONG aad_len, const CK_BYTE *data,
                     CK_ULONG length, CK_BYTE tag[16]) {
  CK_BYTE head[512] = {0};
  if (aad_len > sizeof head - 2) return CKR_MECHANISM_PARAM_INVALID;
  CK_BYTE first[16] = {aad_len > 0 ? 0x79 : 0x39}; /* L is 2, the tag 16 bytes */
  memcpy(first + 1, nonce, 13);
  first[14] = length >> 8;
  first[15] = length;
  memset(tag, 0, 16);
  CK_RV rv = absorb(c, tag, first, 16);
  if (rv != CKR_OK) return rv;
  if (aad_len > 0) {
    head[0] = aad_len >> 8;
    head[1] = aad_len;
    memcpy(head + 2, aad, aad_len);
    if ((rv = absorb(c, tag, head, aad_len + 2)) != CKR_OK) return rv;
  }
  return absorb(c, tag, data, length);
}

/* XORs with the key stream from counter 1 on; the tag takes counter 0. */
static CK_RV ccm_stream(cipher c, const CK_BYTE *nonce, CK_ULONG counter, const CK_BYTE *in, CK_ULONG length,
                        CK_BYTE *out) {
  for (CK_ULONG at = 0; at < length; at += 16, counter++) {
    CK_BYTE stream[16] = {1};
    memcpy(stream + 1, nonce, 13);
    stream[14] = counter >> 8;
    stream[15] = counter;
    CK_RV rv = block(c, 0, stream, stream);
    if (rv != CKR_OK) return rv;
    for (CK_ULONG i = 0; i < 16 && at + i < length; i++) out[at + i] = in[at + i] ^ stream[i];
  }
  return CKR_OK;
}

/* NIST SP 800-38C with a nonce of 13 bytes and a tag of 16, which follows the ciphertext. */
CK_RV ccm(cipher c, int decrypt, const CK_BYTE nonce[13], const CK_BYTE *aad, CK_ULONG aad_len, const CK_BYTE *in,
          CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_BYTE tag[16], sealed[16];
  CK_ULONG length = decrypt ? in_len - 16 : in_len;
  CK_RV rv;
  if (*out_len < (decrypt ? length : length + 16)) return CKR_BUFFER_TOO_SMALL;
  if (decrypt) {
    if ((rv = ccm_stream(c, nonce, 1, in, length, out)) != CKR_OK) return rv;
    if ((rv = ccm_tag(c, nonce, aad, aad_len, out, length, tag)) != CKR_OK) return rv;
    if ((rv = ccm_stream(c, nonce, 0, tag, 16, sealed)) != CKR_OK) return rv;
    *out_len = length;
    return memcmp(sealed, in + length, 16) == 0 ? CKR_OK : CKR_ENCRYPTED_DATA_INVALID;
  }
  if ((rv = ccm_tag(c, nonce, aad, aad_len, in, length, tag)) != CKR_OK) return rv;
  if ((rv = ccm_stream(c, nonce, 1, in, length, out)) != CKR_OK) return rv;
  *out_len = length + 16;
  return ccm_stream(c, nonce, 0, tag, 16, out + length);
}

static void count_into(CK_BYTE a[8], CK_ULONG t) {
  for (int i = 7; t > 0; i--, t >>= 8) a[i] ^= t;
}

/* RFC 5649. */
CK_RV kwp_wrap(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_ULONG n = (in_len + 7) / 8;
  CK_BYTE a[16] = {0xa6, 0x59, 0x59, 0xa6, in_len >> 24, in_len >> 16, in_len >> 8, in_len};
  if (*out_len < 8 * n + 8) return CKR_BUFFER_TOO_SMALL;
  *out_len = 8 * n + 8;
  memset(out, 0, *out_len);
  memcpy(out + 8, in, in_len);
  if (n == 1) {
    memcpy(out, a, 8);
    return block(c, 0, out, out);
  }
  for (CK_ULONG t = 1; t <= 6 * n; t++) {
    CK_BYTE *r = out + 8 * ((t - 1) % n + 1);
    memcpy(a + 8, r, 8);
    CK_RV rv = block(c, 0, a, a);
    if (rv != CKR_OK) return rv;
    count_into(a, t);
    memcpy(r, a + 8, 8);
  }
  memcpy(out, a, 8);
  return CKR_OK;
}

CK_RV kwp_unwrap(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  CK_BYTE a[16], r[256];
  CK_ULONG n = in_len / 8 - 1;
  if (in_len % 8 != 0 || in_len < 16 || in_len > sizeof r) return CKR_ENCRYPTED_DATA_LEN_RANGE;
  memcpy(a, in, 16);
  memcpy(r, in + 8, 8 * n);
  if (n == 1) {
    CK_RV rv = block(c, 1, a, a);
    if (rv != CKR_OK) return rv;
    memcpy(r, a + 8, 8);
  } else {
    for (CK_ULONG t = 6 * n; t > 0; t--) {
      CK_BYTE *place = r + 8 * ((t - 1) % n);
      count_into(a, t);
      memcpy(a + 8, place, 8);
      CK_RV rv = block(c, 1, a, a);
      if (rv != CKR_OK) return rv;
      memcpy(place, a + 8, 8);
    }
  }
  CK_ULONG length = (CK_ULONG) a[4] << 24 | a[5] << 16 | a[6] << 8 | a[7];
  static const CK_BYTE constant[4] = {0xa6, 0x59, 0x59, 0xa6}, zeros[8];
  if (memcmp(a, constant, 4) != 0 || length > 8 * n || length + 8 <= 8 * n) return CKR_ENCRYPTED_DATA_INVALID;
  if (memcmp(r + length, zeros, 8 * n - length) != 0) return CKR_ENCRYPTED_DATA_INVALID;
  if (*out_len < length) return CKR_BUFFER_TOO_SMALL;
  memcpy(out, r, length);
  *out_len = length;
  return CKR_OK;
}

static CK_RV mask(CK_SESSION_HANDLE session, const CK_BYTE *seed, CK_ULONG seed_len, CK_BYTE *data, CK_ULONG length) {
  CK_MECHANISM sha256 = {CKM_SHA256, NULL, 0};
  CK_BYTE input[1024];
  memcpy(input, seed, seed_len);
  for (CK_ULONG at = 0, counter = 0; at < length; at += 32, counter++) {
    CK_BYTE digest[32];
    CK_ULONG digest_len = 32;
    memcpy(input + seed_len, (CK_BYTE[]){0, 0, 0, counter}, 4);
    CK_RV rv = real->C_DigestInit(session, &sha256);
    if (rv == CKR_OK) rv = real->C_Digest(session, input, seed_len + 4, digest, &digest_len);
    if (rv != CKR_OK) return rv;
    for (CK_ULONG i = 0; i < 32 && at + i < length; i++) data[at + i] ^= digest[i];
  }
  return CKR_OK;
}

/* RFC 8017, 7.1.2, with an empty label, after a raw decryption by the wrapped module. */
CK_RV oaep_sha256(cipher c, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
  static const CK_BYTE empty[32] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
                                    0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
                                    0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
  CK_MECHANISM raw = {CKM_RSA_X_509, NULL, 0};
  CK_BYTE em[512];
  CK_ULONG k = sizeof em;
  CK_RV rv = real->C_DecryptInit(c.session, &raw, c.key);
  if (rv == CKR_OK) rv = real->C_Decrypt(c.session, (CK_BYTE *) in, in_len, em, &k);
  if (rv != CKR_OK) return rv;
  CK_BYTE *seed = em + 1, *db = em + 33;
  CK_ULONG db_len = k - 33, at = 32;
  if ((rv = mask(c.session, db, db_len, seed, 32)) != CKR_OK) return rv;
  if ((rv = mask(c.session, seed, 32, db, db_len)) != CKR_OK) return rv;
  if (em[0] != 0 || memcmp(db, empty, 32) != 0) return CKR_ENCRYPTED_DATA_INVALID;
  while (at < db_len && db[at] == 0) at++;
  if (at == db_len || db[at] != 1) return CKR_ENCRYPTED_DATA_INVALID;
  at++;
  if (*out_len < db_len - at) return CKR_BUFFER_TOO_SMALL;
  *out_len = db_len - at;
  memcpy(out, db + at, *out_len);
  return CKR_OK;
}
