/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay's half of homefs: /dev/fuse on one side, the deputy on the other.
 *
 * Theory of operation. A request read from the kernel is kept, by its unique number, until the deputy's answer was
 * written back; messages are reference-counted by libzmq, so keeping one costs no copy. When the link comes back, all
 * kept requests are sent again (the deputy answers a repeated one from memory). The table is bounded: when it is full,
 * /dev/fuse is not read until there is room, and the kernel makes the callers wait.
 *
 * Notifications (cache invalidations) may wait inside the kernel for a page or directory that is locked by a request
 * whose answer only this relay can write. They are therefore written by a thread of their own.
 */
#include "../common/log.h"
#include "../homefs/init.h"
#include "relay_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Our own requests have numbers that the kernel never reaches. */
#define OWN_UNIQUE (1ull << 63)

static unsigned bucket_of(uint64_t unique) {
    return (unsigned)((unique * 0x9e3779b97f4a7c15ull) >> 54) % RELAY_BUCKETS;
}

static int find_request(const struct relay_fuse *fuse, uint64_t unique) {
    int at = fuse->buckets[bucket_of(unique)];
    while (at >= 0 && fuse->requests[at].unique != unique)
        at = fuse->requests[at].next;
    return at;
}

static bool has_room(const struct relay_fuse *fuse) {
    return fuse->free_list >= 0 && fuse->bytes < RELAY_PENDING_BYTES;
}

static void watch(struct relay *relay, bool wanted) {
    struct relay_fuse *fuse = &relay->fuse;
    if (fuse->descriptor < 0 || fuse->watched == wanted)
        return;
    if (wanted && relay_watch(relay, fuse->descriptor, EPOLLIN) != 0)
        return;
    if (!wanted)
        relay_unwatch(relay, fuse->descriptor);
    fuse->watched = wanted;
}

static void drop_request(struct relay *relay, int index) {
    struct relay_fuse *fuse = &relay->fuse;
    struct relay_request *request = &fuse->requests[index];
    int *link = &fuse->buckets[bucket_of(request->unique)];
    while (*link != index)
        link = &fuse->requests[*link].next;
    *link = request->next;
    fuse->bytes -= zmq_msg_size(&request->message);
    if (!request->sent)
        fuse->unsent--;
    zmq_msg_close(&request->message);
    request->used = false;
    request->next = fuse->free_list;
    fuse->free_list = index;
    fuse->count--;
    if (!fuse->gone && has_room(fuse))
        watch(relay, true);
}

static void send_request(struct relay *relay, int index) {
    struct relay_fuse *fuse = &relay->fuse;
    struct relay_request *request = &fuse->requests[index];
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    if (zmq_msg_copy(&copy, &request->message) != 0 || !relay_send_message(relay, DP_FUSE, &copy)) {
        zmq_msg_close(&copy);
        return;
    }
    request->sent = true;
    fuse->unsent--;
    if (request->answered_never)
        drop_request(relay, index);
}

/* Needs has_room(). */
static int keep_request(struct relay *relay, uint64_t unique, const void *bytes, size_t length, bool answered_never) {
    struct relay_fuse *fuse = &relay->fuse;
    int index = fuse->free_list;
    struct relay_request *request = &fuse->requests[index];
    if (zmq_msg_init_size(&request->message, length) != 0)
        return -ENOMEM;
    memcpy(zmq_msg_data(&request->message), bytes, length);
    fuse->free_list = request->next;
    unsigned bucket = bucket_of(unique);
    request->unique = unique;
    request->used = true;
    request->sent = false;
    request->answered_never = answered_never;
    request->next = fuse->buckets[bucket];
    fuse->buckets[bucket] = index;
    fuse->count++;
    fuse->unsent++;
    fuse->bytes += length;
    send_request(relay, index);
    if (!has_room(fuse))
        watch(relay, false);
    return 0;
}

static void to_kernel(struct relay *relay, const void *bytes, size_t length) {
    if (write(relay->fuse.descriptor, bytes, length) == (ssize_t)length)
        return;
    /* ENOENT: the caller was killed meanwhile. ENODEV: unmounted; the next read tells. */
    if (errno == ENOENT || errno == ENODEV)
        return;
    struct fuse_out_header refused;
    memcpy(&refused, bytes, sizeof refused);
    log_line("the kernel refuses an answer of %zu bytes: %m", length);
    refused.len = sizeof refused;
    refused.error = -EIO;
    if (write(relay->fuse.descriptor, &refused, sizeof refused) < 0 && errno != ENOENT)
        log_line("nor does it take an error: %m");
}

static void answer(struct relay *relay, uint64_t unique, int error) {
    const struct fuse_out_header out = {.len = sizeof out, .error = -error, .unique = unique};
    to_kernel(relay, &out, sizeof out);
}

static void take_probe(struct relay *relay, const struct fuse_in_header *in, const uint8_t *bytes, size_t length) {
    struct fuse_fsync_in arguments;
    if (length >= sizeof *in + sizeof arguments) {
        memcpy(&arguments, bytes + sizeof *in, sizeof arguments);
        relay->fuse.probe_hit = true;
        relay->fuse.probe_nodeid = in->nodeid;
        relay->fuse.probe_fh = arguments.fh;
    }
    answer(relay, in->unique, 0);
}

static void take_request(struct relay *relay, const uint8_t *bytes, size_t length) {
    struct fuse_in_header in;
    memcpy(&in, bytes, sizeof in);
    bool answered_never = in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET || in.opcode == FUSE_INTERRUPT;
    if (in.opcode == FUSE_INIT) {
        uint8_t out[512];
        size_t size = homefs_init_reply(bytes, length, out, sizeof out);
        if (size > 0)
            to_kernel(relay, out, size);
        else
            answer(relay, in.unique, EPROTO);
        return;
    }
    if ((in.opcode == FUSE_FSYNC || in.opcode == FUSE_FSYNCDIR) && relay->fuse.probing) {
        take_probe(relay, &in, bytes, length);
        return;
    }
    if (relay->fenced) {
        if (!answered_never)
            answer(relay, in.unique, EIO);
        return;
    }
    if (keep_request(relay, in.unique, bytes, length, answered_never) != 0 && !answered_never)
        answer(relay, in.unique, ENOMEM);
}

void relay_fuse_readable(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    for (int i = 0; i < RELAY_BATCH && has_room(fuse) && !fuse->gone; i++) {
        ssize_t length = read(fuse->descriptor, fuse->buffer, RELAY_FUSE_BUFFER);
        if (length < 0 && (errno == EINTR || errno == ENOENT))
            continue;
        if (length < 0 && errno == EAGAIN)
            return;
        if (length < (ssize_t)sizeof(struct fuse_in_header)) {
            watch(relay, false);
            fuse->gone = true;
            relay_post(relay, RELAY_FUSE_GONE, length < 0 ? errno : EPROTO);
            return;
        }
        take_request(relay, fuse->buffer, (size_t)length);
    }
}

void relay_fuse_reply(struct relay *relay, zmq_msg_t *payload) {
    struct fuse_out_header out;
    if (zmq_msg_size(payload) < sizeof out) {
        log_line("dropped an answer that is too short");
        return;
    }
    memcpy(&out, zmq_msg_data(payload), sizeof out);
    int index = out.unique ? find_request(&relay->fuse, out.unique) : -1;
    if (index < 0)
        return; /* answered twice, after a reconnection */
    if (out.len != zmq_msg_size(payload) || out.error > 0 || out.error < -4095) {
        log_line("dropped a malformed answer");
        /* The caller must not wait for ever. */
        if (!(out.unique & OWN_UNIQUE))
            answer(relay, out.unique, EIO);
    } else if (!(out.unique & OWN_UNIQUE)) {
        to_kernel(relay, zmq_msg_data(payload), zmq_msg_size(payload));
    }
    if (out.unique == relay->fuse.adopt_unique)
        relay_reply_set(relay, &relay->adopted, out.error > 0 ? -EIO : out.error, 0);
    drop_request(relay, index);
}

void relay_fuse_flush(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    for (int i = 0; i < RELAY_PENDING && fuse->unsent > 0 && !relay->blocked; i++) {
        if (fuse->requests[i].used && !fuse->requests[i].sent)
            send_request(relay, i);
    }
}

void relay_fuse_unsend(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    for (int i = 0; i < RELAY_PENDING; i++) {
        if (fuse->requests[i].used && fuse->requests[i].sent) {
            fuse->requests[i].sent = false;
            fuse->unsent++;
        }
    }
}

void relay_fuse_fail_all(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    for (int i = 0; i < RELAY_PENDING; i++) {
        if (!fuse->requests[i].used)
            continue;
        if (fuse->descriptor >= 0 && !fuse->requests[i].answered_never && !(fuse->requests[i].unique & OWN_UNIQUE))
            answer(relay, fuse->requests[i].unique, EIO);
        drop_request(relay, i);
    }
}

/* --- notifications ------------------------------------------------------------------------------------------------ */

static void *notice_main(void *argument) {
    struct relay *relay = argument;
    struct relay_fuse *fuse = &relay->fuse;
    pthread_mutex_lock(&fuse->notice_lock);
    for (;;) {
        while (fuse->notice_count == 0 && !fuse->notice_stop)
            pthread_cond_wait(&fuse->notice_ready, &fuse->notice_lock);
        if (fuse->notice_stop)
            break;
        zmq_msg_t notice;
        zmq_msg_init(&notice);
        zmq_msg_move(&notice, &fuse->notices[fuse->notice_first]);
        zmq_msg_close(&fuse->notices[fuse->notice_first]);
        fuse->notice_first = (fuse->notice_first + 1) % RELAY_NOTICES;
        fuse->notice_count--;
        pthread_mutex_unlock(&fuse->notice_lock);
        /* ENOENT: the kernel does not have it cached. */
        if (write(fuse->descriptor, zmq_msg_data(&notice), zmq_msg_size(&notice)) < 0 && errno != ENOENT &&
            errno != ENODEV && errno != ENOTDIR && errno != ENOTEMPTY)
            log_line("the kernel refuses a notification: %m");
        zmq_msg_close(&notice);
        pthread_mutex_lock(&fuse->notice_lock);
    }
    pthread_mutex_unlock(&fuse->notice_lock);
    return NULL;
}

void relay_fuse_notice(struct relay *relay, zmq_msg_t *payload) {
    struct relay_fuse *fuse = &relay->fuse;
    struct fuse_out_header out;
    if (zmq_msg_size(payload) < sizeof out)
        return;
    memcpy(&out, zmq_msg_data(payload), sizeof out);
    if (out.unique != 0 || out.error <= 0 || out.len != zmq_msg_size(payload)) {
        log_line("dropped a malformed notification");
        return;
    }
    if (!fuse->notice_thread_runs)
        return; /* nothing mounted: nothing cached */
    pthread_mutex_lock(&fuse->notice_lock);
    if (fuse->notice_count == RELAY_NOTICES) {
        log_line("dropped a notification: the kernel takes none");
    } else {
        zmq_msg_t *slot = &fuse->notices[(fuse->notice_first + fuse->notice_count) % RELAY_NOTICES];
        zmq_msg_init(slot);
        zmq_msg_move(slot, payload);
        fuse->notice_count++;
        pthread_cond_signal(&fuse->notice_ready);
    }
    pthread_mutex_unlock(&fuse->notice_lock);
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

void relay_fuse_init(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    pthread_mutex_init(&fuse->notice_lock, NULL);
    pthread_cond_init(&fuse->notice_ready, NULL);
    for (int i = 0; i < RELAY_BUCKETS; i++)
        fuse->buckets[i] = -1;
    for (int i = 0; i < RELAY_PENDING; i++)
        fuse->requests[i].next = i + 1 < RELAY_PENDING ? i + 1 : -1;
    fuse->free_list = 0;
}

static int call_attach(struct relay *relay, void *argument) {
    struct relay_fuse *fuse = &relay->fuse;
    int descriptor = *(int *)argument;
    if (fuse->descriptor >= 0)
        return -EBUSY;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0)
        return -errno;
    fuse->buffer = malloc(RELAY_FUSE_BUFFER);
    if (fuse->buffer == NULL)
        return -ENOMEM;
    fuse->descriptor = descriptor;
    /* The thread inherits the relay's mask: everything blocked. */
    int error = pthread_create(&fuse->notice_thread, NULL, notice_main, relay);
    if (error != 0) {
        fuse->descriptor = -1;
        return -error;
    }
    fuse->notice_thread_runs = true;
    watch(relay, true);
    return fuse->watched ? 0 : -EIO;
}

int relay_attach_fuse(struct relay *relay, int fuse_descriptor) {
    return relay_call(relay, call_attach, &fuse_descriptor);
}

void relay_fuse_close(struct relay *relay) {
    struct relay_fuse *fuse = &relay->fuse;
    /* First the answers: a notification may wait in the kernel for one of them. */
    relay_fuse_fail_all(relay);
    if (fuse->notice_thread_runs) {
        pthread_mutex_lock(&fuse->notice_lock);
        fuse->notice_stop = true;
        pthread_cond_signal(&fuse->notice_ready);
        pthread_mutex_unlock(&fuse->notice_lock);
        pthread_join(fuse->notice_thread, NULL);
    }
    for (unsigned i = 0; i < fuse->notice_count; i++)
        zmq_msg_close(&fuse->notices[(fuse->notice_first + i) % RELAY_NOTICES]);
    if (fuse->descriptor >= 0)
        close(fuse->descriptor);
    free(fuse->buffer);
    pthread_mutex_destroy(&fuse->notice_lock);
    pthread_cond_destroy(&fuse->notice_ready);
}

/* --- probing and adopting ----------------------------------------------------------------------------------------- */

static int call_probe(struct relay *relay, void *argument) {
    relay->fuse.probing = *(bool *)argument;
    relay->fuse.probe_hit = false;
    return 0;
}

int relay_probe(struct relay *relay, bool on) {
    return relay_call(relay, call_probe, &on);
}

struct probe_result {
    uint64_t nodeid, fh;
};

static int call_probe_take(struct relay *relay, void *argument) {
    struct probe_result *result = argument;
    if (!relay->fuse.probe_hit)
        return -ENODATA;
    relay->fuse.probe_hit = false;
    result->nodeid = relay->fuse.probe_nodeid;
    result->fh = relay->fuse.probe_fh;
    return 0;
}

int relay_probe_take(struct relay *relay, uint64_t *nodeid, uint64_t *fh) {
    struct probe_result result;
    int error = relay_call(relay, call_probe_take, &result);
    if (error == 0) {
        *nodeid = result.nodeid;
        *fh = result.fh;
    }
    return error;
}

static int call_adopt(struct relay *relay, void *argument) {
    static uint64_t counter; /* only this thread's */
    const struct probe_result *wanted = argument;
    struct {
        struct fuse_in_header in;
        struct dp_adopt adopt;
    } request = {.in = {.len = sizeof request, .opcode = DP_FUSE_ADOPT, .nodeid = wanted->nodeid},
                 .adopt = {.fh = wanted->fh}};
    if (relay->fenced)
        return -ESTALE;
    if (!has_room(&relay->fuse))
        return -EBUSY;
    request.in.unique = OWN_UNIQUE | ++counter;
    relay->fuse.adopt_unique = request.in.unique;
    pthread_mutex_lock(&relay->lock);
    relay->adopted = (struct relay_reply){.wanted = true};
    pthread_mutex_unlock(&relay->lock);
    return keep_request(relay, request.in.unique, &request, sizeof request, false);
}

int relay_adopt(struct relay *relay, uint64_t nodeid, uint64_t fh, int timeout_ms) {
    struct probe_result wanted = {nodeid, fh};
    int error = relay_call(relay, call_adopt, &wanted);
    if (error != 0)
        return error;
    return relay_reply_wait(relay, &relay->adopted, timeout_ms) ? relay->adopted.value : -ETIMEDOUT;
}
