/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the relay share. Everything in struct relay belongs to the relay's thread unless said otherwise.
 */
#ifndef SKEIN_RELAY_PRIVATE_H
#define SKEIN_RELAY_PRIVATE_H

#include "../common/keys.h"
#include "relay.h"

#include <pthread.h>
#include <zmq.h>

#define RELAY_EVENTS 64
#define RELAY_SILENCE_MS 5000 /* then the link counts as down */
#define RELAY_REDIAL_MS 10000 /* of silence: a new connection is tried, and again each time as long passed */
#define RELAY_TICK_MS 1000
#define RELAY_BATCH 64 /* messages or requests handled before the other sources are looked at */

/* --- requests of the kernel that have no answer yet (relay_fuse.c) --- */
#define RELAY_PENDING 512
#define RELAY_PENDING_BYTES (64u << 20)
#define RELAY_BUCKETS 1024
#define RELAY_NOTICES 1024
#define RELAY_FUSE_BUFFER ((1u << 20) + 65536)

struct relay_request {
    uint64_t unique;
    zmq_msg_t message;
    bool used, sent, answered_never; /* answered_never: gone once sent (FORGET, INTERRUPT) */
    int next;                        /* in its bucket or in the free list; -1 ends */
};

struct relay_fuse {
    int descriptor;
    bool gone, watched;
    uint8_t *buffer;
    struct relay_request requests[RELAY_PENDING];
    int buckets[RELAY_BUCKETS], free_list, count, unsent;
    size_t bytes;
    bool probing, probe_hit;
    uint64_t probe_nodeid, probe_fh;
    uint64_t adopt_unique; /* 0: none under way */
    /* Notifications are written by a thread of their own. Under notice_lock: */
    pthread_t notice_thread;
    bool notice_thread_runs, notice_stop;
    pthread_mutex_t notice_lock;
    pthread_cond_t notice_ready;
    zmq_msg_t notices[RELAY_NOTICES];
    unsigned notice_first, notice_count;
};

/* --- standard streams (relay_streams.c) --- */
struct relay_out {
    int descriptor; /* -1: absent, or closed for good */
    bool eof, eof_sent;
    uint64_t offset; /* of bytes[first] */
    uint8_t *bytes;  /* not acknowledged: bytes[first .. first+length) */
    size_t first, length, room, sent;
};

struct relay_in {
    int descriptor;
    uint64_t handed, acked; /* bytes handed on; bytes that the deputy was told are */
    uint8_t *bytes;         /* [first, first+length) waits to be handed on */
    size_t first, length;
    bool eof, eof_handed; /* the deputy said that nothing follows; the pipe was closed after it */
    bool broken;          /* nobody reads it any more */
    bool broken_said;
};

struct relay_stdio_state {
    int master;
    bool attached, frozen;
    int master_out;   /* which of out[] carries the terminal's output */
    bool master_idle; /* nobody has the terminal open: looked at again at the next tick */
    bool winsize_known;
    struct winsize winsize;
    struct {
        int descriptor;
        uint32_t events;
    } watches[4]; /* master, in, out, out */
    struct relay_out out[2];
    struct relay_in in;
};

struct relay_reply {
    bool wanted, done;
    int value;
    uint32_t epoch;
};

struct relay {
    /* written before the thread starts */
    char endpoint[256], server_key[KEY_TEXT], client_public[KEY_TEXT], client_secret[KEY_TEXT], task[64];
    uint8_t claimant[DP_CLAIMANT];
    void *context;
    pthread_t thread;
    int epoll, wake, timer, events_ready;

    /* under lock: calls from main, answers it waits for, events for it */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        int (*function)(struct relay *relay, void *argument);
        void *argument;
        int result;
        bool pending, done;
    } call;
    struct relay_reply welcome, claimed, adopted;
    struct relay_event events[RELAY_EVENTS];
    unsigned event_first, event_count;
    void *spec;
    size_t spec_length;

    /* the link (relay_link.c) */
    void *socket, *monitor;
    int socket_descriptor, monitor_descriptor;
    unsigned dials;
    bool stopping, ready, blocked; /* ready: welcomed on this connection; blocked: a send found no room */
    bool down_told, asleep, fenced;
    int64_t heard_ms, dialled_ms;
    uint32_t epoch;
    bool holds; /* our claim was granted: streams move */

    /* what is said again after a reconnection */
    bool started_said, exiting, exit_sent, exit_acked, exec_failed;
    int stop_signal, exit_status, exec_error;
    char exec_step[64];
    struct dp_usage usage;

    struct relay_fuse fuse;
    struct relay_stdio_state stdio;
};

int64_t relay_now_ms(void);
/* Run a function on the relay's thread and wait for its result. */
int relay_call(struct relay *relay, int (*function)(struct relay *relay, void *argument), void *argument);
/* Main waits for an answer that the thread delivers with relay_reply_set; false on time-out. */
bool relay_reply_wait(struct relay *relay, struct relay_reply *reply, int timeout_ms);
void relay_reply_set(struct relay *relay, struct relay_reply *reply, int value, uint32_t epoch);
void relay_post(struct relay *relay, enum relay_event_type type, int value);
int relay_watch(struct relay *relay, int descriptor, uint32_t events);
void relay_unwatch(struct relay *relay, int descriptor);

/* relay_link.c */
int relay_dial(struct relay *relay);
void relay_hang_up(struct relay *relay);
void relay_link_receive(struct relay *relay);
void relay_link_tick(struct relay *relay);
bool relay_link_has_input(struct relay *relay);
/* false: no room or no link; then `blocked` is set and relay_flush tries again when there is. */
bool relay_send(struct relay *relay, enum dp_type type, uint16_t flags, int32_t value, uint64_t offset,
                const void *payload, size_t length);
/* The same with a message whose reference is taken over when true is returned. */
bool relay_send_message(struct relay *relay, enum dp_type type, zmq_msg_t *payload);
/* Send what waits for a working link. */
void relay_flush(struct relay *relay);
void relay_reports_flush(struct relay *relay);

/* relay_fuse.c */
void relay_fuse_init(struct relay *relay);
void relay_fuse_readable(struct relay *relay);
void relay_fuse_reply(struct relay *relay, zmq_msg_t *payload);
void relay_fuse_notice(struct relay *relay, zmq_msg_t *payload);
void relay_fuse_flush(struct relay *relay);
void relay_fuse_unsend(struct relay *relay); /* a new connection: all pending are to be sent again */
void relay_fuse_fail_all(struct relay *relay);
void relay_fuse_close(struct relay *relay);

/* relay_streams.c */
void relay_streams_init(struct relay *relay);
void relay_streams_ready(struct relay *relay, int descriptor, uint32_t events);
void relay_streams_input(struct relay *relay, uint64_t offset, bool eof, const void *bytes, size_t length);
/* `broken`: nobody reads it at home, so the task's next write must fail. */
void relay_streams_acked(struct relay *relay, int stream, uint64_t offset, bool broken);
void relay_streams_flush(struct relay *relay);
void relay_streams_unsend(struct relay *relay);
/* Reads what the task wrote. True when both streams have nothing more to give and all was sent. */
bool relay_streams_drain(struct relay *relay);
void relay_streams_winsize(struct relay *relay, const void *bytes, size_t length);
void relay_streams_tick(struct relay *relay);
void relay_streams_close(struct relay *relay);
void relay_streams_claim(const struct relay *relay, struct dp_claim *claim);

#endif
