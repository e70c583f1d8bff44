/* SPDX-License-Identifier: Apache-2.0
 *
 * A task arrives. See send.c for the order of things.
 */
#include "../common/log.h"
#include "../common/zap.h"
#include "shepherd.h"
#include "terminal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

/* The source is asked to send as soon as the door is open: when it does not begin, home's agent was restarted. */
#define FIRST_TIMEOUT_MS 10000
#define SOURCE_TIMEOUT_MS 60000
#define CLAIM_TIMEOUT_MS 15000

struct arrival {
    struct shepherd *shepherd;
    struct stream stream;
    struct zap *zap;
    struct restore restore;
    struct relay_stdio stdio;
    struct process_image image;
    struct tracee tracee;
    const char *stage;
    bool begun;
};

static int idle(void *arg) {
    struct arrival *arrival = arg;
    struct shepherd *shepherd = arrival->shepherd;
    struct agentlink_message message;
    struct relay_event event;
    shepherd_announce_each_second(shepherd);
    while (agentlink_next(shepherd->agent, &message)) {
        if (message.kind == AGENTLINK_EVENT && (!strcmp(message.type, "quit") || !strcmp(message.type, "abort")))
            return -ECANCELED;
        if (message.kind == AGENTLINK_REQUEST &&
            agentlink_error(shepherd->agent, message.id, "busy", "the task is arriving"))
            log_line("can't answer the agent");
    }
    while (relay_next_event(shepherd->relay, &event))
        if (event.type == RELAY_KILL || event.type == RELAY_FENCED)
            return -ESTALE;
    return 0;
}

/* For the last word: a source that is gone does not hear it, and is not waited for. */
static int give_up(void *arg) {
    (void)arg;
    return -ECANCELED;
}

/* Bind, and tell the agent where and with which keys. */
static int open_door(struct arrival *arrival) {
    struct shepherd *shepherd = arrival->shepherd;
    struct key_pair server, client;
    char endpoint[256];
    size_t length = sizeof endpoint;
    int result = keys_make(&server);
    if (!result)
        result = keys_make(&client);
    if (!result)
        result = zap_start(shepherd->context, &arrival->zap);
    if (!result)
        result = zap_allow(arrival->zap, client.public_key);
    if (result)
        return result;
    arrival->stream.socket = zmq_socket(shepherd->context, ZMQ_DEALER);
    if (!arrival->stream.socket)
        return -zmq_errno();
    snprintf(endpoint, sizeof endpoint, "tcp://%s:*", shepherd->assignment.address);
    if ((result = stream_prepare(arrival->stream.socket)) ||
        (result = keys_serve(arrival->stream.socket, server.secret_key)))
        return result;
    if (zmq_bind(arrival->stream.socket, endpoint) ||
        zmq_getsockopt(arrival->stream.socket, ZMQ_LAST_ENDPOINT, endpoint, &length))
        return -zmq_errno();
    struct mp_packer *event = agentlink_begin(shepherd->agent, "receiving");
    mp_add_str(event, "task", shepherd->assignment.task);
    mp_add_str(event, "endpoint", endpoint);
    mp_add_str(event, "serverKey", server.public_key);
    mp_add_str(event, "clientSecret", client.secret_key);
    mp_add_str(event, "clientPublic", client.public_key);
    return agentlink_event(shepherd->agent);
}

static int on_hello(struct arrival *arrival, const struct stream_message *message) {
    struct shepherd *shepherd = arrival->shepherd;
    struct stream_hello hello;
    if (message->first_length != sizeof hello || shepherd->inner)
        return -EBADMSG;
    memcpy(&hello, message->first, sizeof hello);
    if (hello.pid < 2 || hello.pgid < 2 || (hello.terminal != 0) != shepherd->spec.tty)
        return -EBADMSG;
    int result = build_stdio(shepherd, &arrival->stdio);
    if (result)
        return result;
    struct capsule_group group = {.pgid = hello.pgid, .foreground = hello.foreground};
    if ((result = capsule_restore(&shepherd->capsule, hello.pid, &group))) {
        log_line("can't make process %d: %s: %s", hello.pid, shepherd->capsule.step, strerror(-result));
        return result;
    }
    shepherd->inner = hello.pid;
    shepherd->pid = capsule_find(&shepherd->capsule, hello.pid);
    return shepherd->pid < 0 ? shepherd->pid : 0;
}

static int on_areas(struct arrival *arrival, const struct stream_message *message) {
    struct image_reader reader = image_reader_of(message->first, message->first_length);
    struct area_list areas;
    int result = maps_unpack(&reader, &areas);
    if (result)
        return result;
    if (!arrival->begun) {
        result = restore_begin(&arrival->restore, arrival->shepherd->pid, &areas);
        arrival->begun = true;
    }
    if (!result)
        result = restore_areas(&arrival->restore, &areas);
    maps_free(&areas);
    return result;
}

static int on_pages(struct arrival *arrival, const struct stream_message *message) {
    struct page_runs runs = {0};
    int result = stream_runs(message->first, message->first_length, &runs);
    if (!result && message->type == STREAM_FRESH)
        result = restore_discard(&arrival->restore, &runs);
    else if (!result)
        result = pages_write(arrival->restore.pid, arrival->restore.remote->mem_fd, &runs, message->second,
                             message->second_length);
    page_runs_free(&runs);
    return result;
}

static int restore_streams(struct arrival *arrival, struct image_reader *reader) {
    struct shepherd *shepherd = arrival->shepherd;
    struct relay_streams streams;
    struct held_input input;
    int result = streams_unpack(reader, &streams, &input);
    if (!result && input.terminal != shepherd->spec.tty)
        result = -EBADMSG;
    if (!result && input.terminal)
        result = input_to_terminal(shepherd->terminal, &input);
    for (size_t done = 0; !result && !input.terminal && arrival->stdio.in >= 0 && done < input.length;) {
        ssize_t put = write(arrival->stdio.in, input.bytes + done, input.length - done);
        if (put <= 0)
            result = put < 0 ? -errno : -EIO;
        else
            done += (size_t)put;
    }
    if (!result) {
        result = relay_attach_stdio(shepherd->relay, &arrival->stdio, &streams);
        arrival->stdio = (struct relay_stdio){-1, -1, {-1, -1}};
    }
    relay_streams_free(&streams);
    input_free(&input);
    return result;
}

static int on_final(struct arrival *arrival, const struct stream_message *message) {
    struct shepherd *shepherd = arrival->shepherd;
    struct image_reader reader = image_reader_of(message->first, message->first_length);
    if (!arrival->begun)
        return -EBADMSG;
    arrival->stage = "streams";
    int result = restore_streams(arrival, &reader);
    if (result)
        return result;
    arrival->stage = "image";
    if ((result = process_unpack(&reader, &arrival->image)))
        return result;
    if (arrival->image.core.pid != shepherd->inner)
        return -EBADMSG;
    arrival->stage = "clocks";
    if ((result = capsule_time(&shepherd->capsule, arrival->image.core.task_monotonic_ns,
                               arrival->image.core.task_boottime_ns)))
        return result;
    if ((result =
             restore_finish(&arrival->restore, &shepherd->facts, &arrival->image, &arrival->tracee, &arrival->stage)))
        return result;
    arrival->stage = "waits";
    if ((result = wait_memo_fill(&shepherd->waits, &arrival->image)))
        return result;
    arrival->stage = "claim";
    shepherd_stage(shepherd, "claim");
    uint32_t current = 0;
    return relay_claim(shepherd->relay, shepherd->assignment.epoch, &current, CLAIM_TIMEOUT_MS);
}

/* 1: the task is ours and may go on. 0: more to come. */
static int handle(struct arrival *arrival, const struct stream_message *message) {
    int result;
    switch (message->type) {
    case STREAM_HELLO:
        arrival->stage = "process";
        return on_hello(arrival, message);
    case STREAM_AREAS:
        arrival->stage = "areas";
        return arrival->shepherd->inner ? on_areas(arrival, message) : -EBADMSG;
    case STREAM_FRESH:
    case STREAM_PAGES:
        arrival->stage = "pages";
        return arrival->begun ? on_pages(arrival, message) : -EBADMSG;
    case STREAM_SYNC:
        return stream_send(&arrival->stream, STREAM_SYNCED, 0, NULL, 0);
    case STREAM_FINAL:
        result = on_final(arrival, message);
        return result ? result : 1;
    default:
        return -EBADMSG;
    }
}

static int receive(struct arrival *arrival) {
    struct shepherd *shepherd = arrival->shepherd;
    int result = build_capsule(shepherd, &arrival->stage);
    if (result)
        return result;
    arrival->stage = "open the door";
    if ((result = open_door(arrival)))
        return result;
    while (result == 0) {
        struct stream_message message;
        if ((result =
                 stream_receive(&arrival->stream, &message, shepherd->inner ? SOURCE_TIMEOUT_MS : FIRST_TIMEOUT_MS)))
            break;
        result = handle(arrival, &message);
        stream_message_done(&message);
    }
    return result == 1 ? 0 : result;
}

int shepherd_receive(struct shepherd *shepherd) {
    struct arrival arrival = {.shepherd = shepherd, .stage = "", .stdio = {-1, -1, {-1, -1}}};
    arrival.stream.idle = idle;
    arrival.stream.arg = &arrival;
    int result = receive(&arrival);
    arrival.stream.idle = give_up;
    if (!result) {
        shepherd->epoch = shepherd->assignment.epoch;
        tracee_thaw(&arrival.tracee);
        result = stream_send(&arrival.stream, STREAM_RESUMED, shepherd->epoch, NULL, 0);
        if (result)
            log_line("can't tell the source that the task is here: %s", strerror(-result));
        struct mp_packer *event = agentlink_begin(shepherd->agent, "resumed");
        mp_add_str(event, "task", shepherd->assignment.task);
        mp_add_u64(event, "epoch", shepherd->epoch);
        if (agentlink_event(shepherd->agent))
            log_line("the agent is away: it learns from the announcements that the task is here");
        result = 0;
    } else {
        char text[200];
        snprintf(text, sizeof text, "%s: %s", arrival.stage, strerror(-result));
        log_line("the task does not arrive: %s", text);
        if (arrival.stream.socket && stream_send(&arrival.stream, STREAM_FAILED, 0, text, strlen(text)))
            log_line("can't tell the source");
        tracee_free(&arrival.tracee);
    }
    if (arrival.stream.socket) {
        /* What was said last must leave: it is a few bytes to a peer that reads. */
        const int linger = 2000;
        zmq_setsockopt(arrival.stream.socket, ZMQ_LINGER, &linger, sizeof linger);
        shepherd->door = arrival.stream.socket;
    }
    shepherd->zap = arrival.zap;
    restore_abandon(&arrival.restore);
    process_free(&arrival.image);
    return result;
}
