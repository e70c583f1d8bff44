/* SPDX-License-Identifier: Apache-2.0
 *
 * CURVE keys and random bytes.
 *
 * Theory of operation. Session keys are made by the native ends with libzmq's own generator (libsodium, seeded by the
 * kernel) and travel through the authenticated control plane; they are never written to disk except by a detached
 * deputy, which has to be found again under the same key.
 */
#include "keys.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <zmq.h>

int keys_make(struct key_pair *pair) {
    return zmq_curve_keypair(pair->public_key, pair->secret_key) == 0 ? 0 : -errno;
}

int keys_random(void *bytes, size_t length) {
    unsigned char *at = bytes;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

bool keys_decode(const char *text, unsigned char binary[32]) {
    unsigned char scratch[32];
    if (text == NULL || strnlen(text, KEY_TEXT) != KEY_TEXT - 1)
        return false;
    for (const char *at = text; *at != 0; at++) {
        if (*at <= ' ' || *at > '~')
            return false;
    }
    return zmq_z85_decode(binary ? binary : scratch, text) != NULL;
}

int keys_serve(void *socket, const char *secret_key) {
    int server = 1;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &server, sizeof server) != 0)
        return -errno;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret_key, KEY_TEXT) != 0)
        return -errno;
    return 0;
}

int keys_dial(void *socket, const char *server_key, const char *public_key, const char *secret_key) {
    if (!keys_decode(server_key, NULL) || !keys_decode(public_key, NULL) || !keys_decode(secret_key, NULL))
        return -EINVAL;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, KEY_TEXT) != 0)
        return -errno;
    if (zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public_key, KEY_TEXT) != 0)
        return -errno;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret_key, KEY_TEXT) != 0)
        return -errno;
    return 0;
}
