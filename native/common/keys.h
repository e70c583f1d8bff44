/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_KEYS_H
#define SKEIN_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#define KEY_TEXT 41 /* a CURVE key in Z85 with its end byte */

struct key_pair {
    char public_key[KEY_TEXT], secret_key[KEY_TEXT];
};

/* A fresh CURVE key pair. 0 or -errno. */
int keys_make(struct key_pair *pair);
/* Cryptographically random bytes. 0 or -errno. */
int keys_random(void *bytes, size_t length);
/* Whether the text is a 40-digit Z85 key; `binary` may be NULL. */
bool keys_decode(const char *text, unsigned char binary[32]);

/* Turn a ZeroMQ socket into a CURVE server or client, before bind or connect. 0 or -errno. */
int keys_serve(void *socket, const char *secret_key);
int keys_dial(void *socket, const char *server_key, const char *public_key, const char *secret_key);

#endif
