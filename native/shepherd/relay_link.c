/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay's link to the deputy.
 *
 * Theory of operation. A CURVE DEALER; its monitor tells when a connection stands (then DP_HELLO is said, also again
 * after each reconnection), when one broke, and when our key was refused. Until DP_WELCOME nothing but hello and claims
 * goes out; then everything without an answer is sent again: requests, unacknowledged output, reports.
 *
 * libzmq reconnects by itself when the connection is seen to break. A peer that vanished without a word is noticed by
 * silence: DP_PING each second, down after five, a fresh socket every ten. A deputy that is stopped by Ctrl-Z said
 * DP_SLEEP first: then only a broken connection counts, which TCP keep-alives find.
 */
#include "../common/log.h"
#include "relay_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static bool readable(void *socket) {
    int events = 0;
    size_t size = sizeof events;
    return socket != NULL && zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0;
}

bool relay_link_has_input(struct relay *relay) {
    return readable(relay->monitor) || readable(relay->socket);
}

static int set_options(void *socket) {
    const struct {
        int option, value;
    } options[] = {{ZMQ_SNDHWM, 1000},        {ZMQ_RCVHWM, 1000},           {ZMQ_LINGER, 0},
                   {ZMQ_IMMEDIATE, 1},        {ZMQ_RECONNECT_IVL, 100},     {ZMQ_RECONNECT_IVL_MAX, 2000},
                   {ZMQ_TCP_KEEPALIVE, 1},    {ZMQ_TCP_KEEPALIVE_IDLE, 10}, {ZMQ_TCP_KEEPALIVE_INTVL, 5},
                   {ZMQ_TCP_KEEPALIVE_CNT, 4}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)) != 0)
            return -errno;
    }
    int64_t limit = DP_MAX_PAYLOAD;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit) == 0 ? 0 : -errno;
}

static int watch_socket(struct relay *relay, void *socket, int *descriptor) {
    size_t size = sizeof *descriptor;
    if (zmq_getsockopt(socket, ZMQ_FD, descriptor, &size) != 0)
        return -errno;
    return relay_watch(relay, *descriptor, EPOLLIN);
}

int relay_dial(struct relay *relay) {
    char monitor[64];
    snprintf(monitor, sizeof monitor, "inproc://relay-monitor-%u", ++relay->dials);
    relay->socket = zmq_socket(relay->context, ZMQ_DEALER);
    relay->monitor = zmq_socket(relay->context, ZMQ_PAIR);
    if (relay->socket == NULL || relay->monitor == NULL)
        return -errno;
    int result = set_options(relay->socket);
    if (result == 0)
        result = keys_dial(relay->socket, relay->server_key, relay->client_public, relay->client_secret);
    if (result != 0)
        return result;
    const int wanted = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
    if (zmq_socket_monitor(relay->socket, monitor, wanted) != 0 || zmq_connect(relay->monitor, monitor) != 0 ||
        zmq_connect(relay->socket, relay->endpoint) != 0)
        return -errno;
    result = watch_socket(relay, relay->monitor, &relay->monitor_descriptor);
    if (result == 0)
        result = watch_socket(relay, relay->socket, &relay->socket_descriptor);
    relay->dialled_ms = relay_now_ms();
    if (relay->heard_ms == 0)
        relay->heard_ms = relay->dialled_ms;
    return result;
}

void relay_hang_up(struct relay *relay) {
    if (relay->socket_descriptor >= 0)
        relay_unwatch(relay, relay->socket_descriptor);
    if (relay->monitor_descriptor >= 0)
        relay_unwatch(relay, relay->monitor_descriptor);
    relay->socket_descriptor = relay->monitor_descriptor = -1;
    if (relay->socket) {
        zmq_socket_monitor(relay->socket, NULL, 0);
        zmq_close(relay->socket);
    }
    if (relay->monitor)
        zmq_close(relay->monitor);
    relay->socket = relay->monitor = NULL;
    relay->ready = false;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static bool send_header(struct relay *relay, enum dp_type type, uint16_t flags, int32_t value, uint64_t offset) {
    const struct dp_header header = {.magic = DP_MAGIC,
                                     .type = (uint16_t)type,
                                     .flags = flags,
                                     .epoch = relay->epoch,
                                     .value = value,
                                     .offset = offset};
    if (zmq_send(relay->socket, &header, sizeof header, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0)
        return true;
    relay->blocked = true;
    return false;
}

static bool raw_send(struct relay *relay, enum dp_type type, uint16_t flags, int32_t value, uint64_t offset,
                     const void *payload, size_t length) {
    if (relay->socket == NULL || !send_header(relay, type, flags, value, offset))
        return false;
    /* Once the first part is taken, the others are too. */
    return zmq_send(relay->socket, payload, length, 0) >= 0;
}

bool relay_send(struct relay *relay, enum dp_type type, uint16_t flags, int32_t value, uint64_t offset,
                const void *payload, size_t length) {
    return relay->ready && raw_send(relay, type, flags, value, offset, payload, length);
}

bool relay_send_message(struct relay *relay, enum dp_type type, zmq_msg_t *payload) {
    if (!relay->ready || !send_header(relay, type, 0, 0, 0))
        return false;
    return zmq_msg_send(payload, relay->socket, 0) >= 0;
}

static void say_hello(struct relay *relay) {
    uint8_t payload[DP_CLAIMANT + sizeof relay->task];
    memcpy(payload, relay->claimant, DP_CLAIMANT);
    size_t length = strlen(relay->task);
    memcpy(payload + DP_CLAIMANT, relay->task, length);
    if (!raw_send(relay, DP_HELLO, 0, 0, 0, payload, DP_CLAIMANT + length))
        log_line("can't say hello to the deputy: %m");
}

void relay_flush(struct relay *relay) {
    relay->blocked = false;
    if (!relay->ready)
        return;
    relay_fuse_flush(relay);
    relay_streams_flush(relay);
    relay_reports_flush(relay);
}

/* A new connection, or a deputy that greets us again: what it may not have got is sent once more. */
static void greeted(struct relay *relay) {
    relay->ready = true;
    relay->exit_sent = false;
    relay_fuse_unsend(relay);
    relay_streams_unsend(relay);
    if (relay->started_said)
        relay_send(relay, DP_STARTED, 0, 0, 0, NULL, 0);
    if (relay->stop_signal != 0)
        relay_send(relay, DP_STATE, 0, relay->stop_signal, 0, NULL, 0);
    relay_flush(relay);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void welcomed(struct relay *relay, zmq_msg_t *payload) {
    pthread_mutex_lock(&relay->lock);
    if (relay->spec == NULL) {
        relay->spec_length = zmq_msg_size(payload);
        relay->spec = malloc(relay->spec_length + 1);
        if (relay->spec)
            memcpy(relay->spec, zmq_msg_data(payload), relay->spec_length);
    }
    int result = relay->spec ? 0 : -ENOMEM;
    pthread_mutex_unlock(&relay->lock);
    relay_reply_set(relay, &relay->welcome, result, 0);
    greeted(relay);
}

static void fenced(struct relay *relay) {
    relay_reply_set(relay, &relay->welcome, -EKEYREJECTED, 0);
    relay_reply_set(relay, &relay->adopted, -ESTALE, 0);
    if (relay->fenced)
        return;
    relay->fenced = true;
    relay->ready = false;
    /* The copy here dies: nothing may hang in the kernel on answers that never come. */
    relay_fuse_fail_all(relay);
    relay_post(relay, RELAY_FENCED, 0);
}

static int call_fence(struct relay *relay, void *argument) {
    (void)argument;
    fenced(relay);
    return 0;
}

int relay_fence(struct relay *relay) {
    return relay_call(relay, call_fence, NULL);
}

static void claim_answered(struct relay *relay, const struct dp_header *header) {
    if (header->value == 0) {
        relay->epoch = header->epoch;
        relay->holds = true;
    }
    relay_reply_set(relay, &relay->claimed, header->value, header->epoch);
    relay_flush(relay);
}

static void handle(struct relay *relay, const struct dp_header *header, zmq_msg_t *payload) {
    const void *bytes = zmq_msg_data(payload);
    size_t length = zmq_msg_size(payload);
    switch (header->type) {
    case DP_WELCOME:
        return welcomed(relay, payload);
    case DP_FUSE_REPLY:
        return relay_fuse_reply(relay, payload);
    case DP_FUSE_NOTIFY:
        return relay_fuse_notice(relay, payload);
    case DP_IN:
        return relay_streams_input(relay, header->offset, (header->flags & DP_EOF) != 0, bytes, length);
    case DP_OUT_ACK:
        return relay_streams_acked(relay, header->flags, header->offset, header->value != 0);
    case DP_CLAIMED:
        return claim_answered(relay, header);
    case DP_SIGNAL:
        if (header->value > 0 && header->value <= 64)
            relay_post(relay, RELAY_SIGNAL, header->value);
        return;
    case DP_WINSIZE:
        return relay_streams_winsize(relay, bytes, length);
    case DP_FENCED:
        return fenced(relay);
    case DP_KILL:
        return relay_post(relay, RELAY_KILL, 0);
    case DP_EXIT_ACK:
        if (!relay->exit_acked && (relay->exiting || relay->exec_failed)) {
            relay->exit_acked = true;
            relay_post(relay, RELAY_EXIT_ACKED, 0);
        }
        return;
    case DP_SLEEP:
        relay->asleep = true;
        raw_send(relay, DP_PING, DP_ASLEEP, 0, 0, NULL, 0);
        return;
    case DP_PONG:
        return;
    default:
        log_line("dropped a message of unknown type %u from the deputy", header->type);
    }
}

/* One message of two frames; anything else is dropped whole. False when there is none. */
static bool receive_one(struct relay *relay) {
    zmq_msg_t frames[2], rest;
    zmq_msg_init(&frames[0]);
    if (zmq_msg_recv(&frames[0], relay->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&frames[0]);
        return false;
    }
    zmq_msg_init(&frames[1]);
    int count = 1;
    bool more = zmq_msg_more(&frames[0]);
    if (more && zmq_msg_recv(&frames[1], relay->socket, 0) >= 0) {
        count = 2;
        more = zmq_msg_more(&frames[1]);
    }
    while (more) {
        zmq_msg_init(&rest);
        more = zmq_msg_recv(&rest, relay->socket, 0) >= 0 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
        count++;
    }
    struct dp_header header;
    if (count == 2 && zmq_msg_size(&frames[0]) == sizeof header && zmq_msg_size(&frames[1]) <= DP_MAX_PAYLOAD) {
        memcpy(&header, zmq_msg_data(&frames[0]), sizeof header);
        if (header.magic == DP_MAGIC) {
            relay->heard_ms = relay_now_ms();
            relay->asleep = false;
            if (relay->down_told) {
                relay->down_told = false;
                relay_post(relay, RELAY_LINK_UP, 0);
            }
            handle(relay, &header, &frames[1]);
        } else {
            log_line("dropped a message of another protocol from the deputy");
        }
    } else {
        log_line("dropped a malformed message from the deputy");
    }
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
    return true;
}

static void monitor_event(struct relay *relay) {
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, relay->monitor, ZMQ_DONTWAIT) < 0 || zmq_msg_size(&frame) < 2) {
        zmq_msg_close(&frame);
        return;
    }
    uint16_t event;
    memcpy(&event, zmq_msg_data(&frame), sizeof event);
    bool more = zmq_msg_more(&frame);
    while (more) {
        more = zmq_msg_recv(&frame, relay->monitor, 0) >= 0 && zmq_msg_more(&frame);
    }
    zmq_msg_close(&frame);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        if (!relay->fenced)
            say_hello(relay);
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        relay->ready = false;
        relay->asleep = false;
    } else {
        relay->ready = false;
        relay_reply_set(relay, &relay->welcome, -EKEYREJECTED, 0);
        /* The deputy was started again, and knows of no candidate any more; who holds the task it will know again. */
        if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && !relay->holds)
            fenced(relay);
    }
}

void relay_link_receive(struct relay *relay) {
    for (int i = 0; i < RELAY_BATCH && readable(relay->monitor); i++)
        monitor_event(relay);
    for (int i = 0; i < RELAY_BATCH && receive_one(relay); i++) {
    }
}

void relay_link_tick(struct relay *relay) {
    int64_t now = relay_now_ms(), silence = now - relay->heard_ms;
    if (relay->fenced)
        return;
    if (relay->ready)
        raw_send(relay, DP_PING, 0, 0, 0, NULL, 0);
    if (silence < RELAY_SILENCE_MS || (relay->asleep && relay->ready))
        return;
    if (relay->spec && !relay->holds) {
        log_line("home does not answer: a task can't arrive without it");
        fenced(relay);
        return;
    }
    relay->down_told = true;
    relay_post(relay, RELAY_LINK_DOWN, (int)(silence / 1000));
    if (now - relay->dialled_ms < RELAY_REDIAL_MS || silence < RELAY_REDIAL_MS)
        return;
    relay_hang_up(relay);
    int result = relay_dial(relay);
    if (result != 0)
        log_line("can't dial the deputy again: %s", strerror(-result));
}
