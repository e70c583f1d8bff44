/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may connect: the ZAP (ZeroMQ RFC 27) handler of a context.
 *
 * Theory of operation. libzmq asks inproc://zeromq.zap.01 about each CURVE handshake and waits for the answer. A thread
 * of its own answers from a short list of public keys, so that a busy main loop can't stall a handshake. The thread
 * ends when a byte arrives on an inproc pair. All signals are blocked in it.
 */
#include "zap.h"
#include "keys.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define ZAP_ADDRESS "inproc://zeromq.zap.01"
#define ZAP_FRAMES 8

struct zap {
    void *context, *server, *stop_out, *stop_in;
    pthread_t thread;
    pthread_mutex_t lock;
    unsigned char keys[ZAP_MAX_KEYS][32];
    int count;
};

static int find_key(const struct zap *zap, const unsigned char key[32]) {
    for (int i = 0; i < zap->count; i++) {
        if (memcmp(zap->keys[i], key, 32) == 0)
            return i;
    }
    return -1;
}

/* Version, request id, domain, address, identity, mechanism, credentials: reads the frames of one request. */
static int read_request(void *server, char *id, size_t *id_length, unsigned char key[32], bool *wellformed) {
    int frame = 0;
    bool version_right = false, mechanism_right = false, key_right = false;
    *id_length = 0;
    for (;;) {
        unsigned char bytes[256];
        int length = zmq_recv(server, bytes, sizeof bytes, 0);
        if (length < 0)
            return -errno;
        if (frame == 0)
            version_right = length == 3 && memcmp(bytes, "1.0", 3) == 0;
        if (frame == 1 && length <= (int)sizeof bytes) {
            memcpy(id, bytes, (size_t)length);
            *id_length = (size_t)length;
        }
        if (frame == 5)
            mechanism_right = length == 5 && memcmp(bytes, "CURVE", 5) == 0;
        if (frame == 6 && length == 32) {
            memcpy(key, bytes, 32);
            key_right = true;
        }
        int more = 0;
        size_t size = sizeof more;
        if (zmq_getsockopt(server, ZMQ_RCVMORE, &more, &size) != 0)
            return -errno;
        if (!more)
            break;
        if (frame < ZAP_FRAMES)
            frame++;
    }
    *wellformed = version_right && mechanism_right && key_right && frame == 6;
    return 0;
}

/* The user id of an allowed client is its key: the server reads it from each message ("User-Id") and so knows which
 * of its clients speaks, whatever routing id that one took. */
static int send_reply(void *server, const char *id, size_t id_length, const unsigned char key[32], bool allowed) {
    const char *status = allowed ? "200" : "400", *text = allowed ? "OK" : "key not allowed";
    char user[KEY_TEXT] = "";
    if (allowed)
        zmq_z85_encode(user, key, 32);
    const struct {
        const void *bytes;
        size_t length;
    } frames[] = {{"1.0", 3}, {id, id_length}, {status, 3}, {text, strlen(text)}, {user, strlen(user)}, {"", 0}};
    for (size_t i = 0; i < 6; i++) {
        if (zmq_send(server, frames[i].bytes, frames[i].length, i < 5 ? ZMQ_SNDMORE : 0) < 0)
            return -errno;
    }
    return 0;
}

static void *zap_main(void *argument) {
    struct zap *zap = argument;
    for (;;) {
        zmq_pollitem_t items[] = {{zap->server, 0, ZMQ_POLLIN, 0}, {zap->stop_in, 0, ZMQ_POLLIN, 0}};
        if (zmq_poll(items, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        if (items[1].revents)
            break;
        char id[256];
        size_t id_length;
        unsigned char key[32] = {0};
        bool wellformed = false;
        if (read_request(zap->server, id, &id_length, key, &wellformed) != 0)
            break;
        pthread_mutex_lock(&zap->lock);
        bool allowed = wellformed && find_key(zap, key) >= 0;
        pthread_mutex_unlock(&zap->lock);
        if (send_reply(zap->server, id, id_length, key, allowed) != 0)
            break;
    }
    return NULL;
}

static void zap_close(struct zap *zap) {
    if (zap->server)
        zmq_close(zap->server);
    if (zap->stop_in)
        zmq_close(zap->stop_in);
    if (zap->stop_out)
        zmq_close(zap->stop_out);
    pthread_mutex_destroy(&zap->lock);
    free(zap);
}

int zap_start(void *context, struct zap **out) {
    struct zap *zap = calloc(1, sizeof *zap);
    if (zap == NULL)
        return -ENOMEM;
    zap->context = context;
    pthread_mutex_init(&zap->lock, NULL);
    char stop[64];
    snprintf(stop, sizeof stop, "inproc://zap-stop-%p", (void *)zap);
    zap->server = zmq_socket(context, ZMQ_REP);
    zap->stop_in = zmq_socket(context, ZMQ_PAIR);
    zap->stop_out = zmq_socket(context, ZMQ_PAIR);
    if (!zap->server || !zap->stop_in || !zap->stop_out || zmq_bind(zap->server, ZAP_ADDRESS) != 0 ||
        zmq_bind(zap->stop_in, stop) != 0 || zmq_connect(zap->stop_out, stop) != 0) {
        int error = errno;
        zap_close(zap);
        return -error;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&zap->thread, NULL, zap_main, zap);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        zap_close(zap);
        return -error;
    }
    *out = zap;
    return 0;
}

int zap_allow(struct zap *zap, const char *public_key) {
    unsigned char key[32];
    if (!keys_decode(public_key, key))
        return -EINVAL;
    int result = 0;
    pthread_mutex_lock(&zap->lock);
    if (find_key(zap, key) < 0) {
        if (zap->count == ZAP_MAX_KEYS)
            result = -ENOSPC;
        else
            memcpy(zap->keys[zap->count++], key, 32);
    }
    pthread_mutex_unlock(&zap->lock);
    return result;
}

void zap_forbid(struct zap *zap, const char *public_key) {
    unsigned char key[32];
    if (!keys_decode(public_key, key))
        return;
    pthread_mutex_lock(&zap->lock);
    int at = find_key(zap, key);
    if (at >= 0)
        memcpy(zap->keys[at], zap->keys[--zap->count], 32);
    pthread_mutex_unlock(&zap->lock);
}

void zap_stop(struct zap *zap) {
    if (zap == NULL)
        return;
    if (zmq_send(zap->stop_out, "x", 1, 0) >= 0)
        pthread_join(zap->thread, NULL);
    zap_close(zap);
}
