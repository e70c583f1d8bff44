/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"
#include "arch.h"
#include "tracee.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define LOOK_MS 20 /* how long a wait goes on before idle is called */
#define SEND_TIMEOUT_MS 60000

int stream_prepare(void *socket) {
    const int high_water = 16, linger = 0, buffer = 4 << 20;
    const int64_t most = STREAM_MAX_BYTES;
    const int look = LOOK_MS;
    if (zmq_setsockopt(socket, ZMQ_SNDHWM, &high_water, sizeof high_water) ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &high_water, sizeof high_water) ||
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger) ||
        zmq_setsockopt(socket, ZMQ_SNDBUF, &buffer, sizeof buffer) ||
        zmq_setsockopt(socket, ZMQ_RCVBUF, &buffer, sizeof buffer) ||
        zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most) ||
        zmq_setsockopt(socket, ZMQ_SNDTIMEO, &look, sizeof look) ||
        zmq_setsockopt(socket, ZMQ_RCVTIMEO, &look, sizeof look))
        return -zmq_errno();
    return 0;
}

int stream_watch(struct stream *stream, void *context) {
    static unsigned watched;
    char address[48];
    snprintf(address, sizeof address, "inproc://stream-monitor-%u", ++watched);
    if (zmq_socket_monitor(stream->socket, address, ZMQ_EVENT_DISCONNECTED))
        return -zmq_errno();
    stream->monitor = zmq_socket(context, ZMQ_PAIR);
    return stream->monitor && zmq_connect(stream->monitor, address) == 0 ? 0 : -zmq_errno();
}

void stream_close(struct stream *stream) {
    if (stream->socket && stream->monitor)
        zmq_socket_monitor(stream->socket, NULL, 0);
    if (stream->monitor)
        zmq_close(stream->monitor);
    if (stream->socket)
        zmq_close(stream->socket);
    stream->socket = stream->monitor = NULL;
}

/* Nothing could be sent or received for a moment. What had arrived before the connection broke has been received when
 * this is asked for the second time. */
static int look_around(struct stream *stream) {
    char event[256];
    if (stream->broken)
        return -EPIPE;
    if (stream->monitor && zmq_recv(stream->monitor, event, sizeof event, ZMQ_DONTWAIT) >= 0)
        stream->broken = true;
    return stream->idle ? stream->idle(stream->arg) : 0;
}

/* Send one frame; once the first frame of a message is away the rest follows whatever idle says. */
static int send_frame(struct stream *stream, zmq_msg_t *frame, bool more, bool first) {
    uint64_t deadline = monotonic_ns() + SEND_TIMEOUT_MS * 1000000ull;
    while (zmq_msg_send(frame, stream->socket, more ? ZMQ_SNDMORE : 0) < 0) {
        if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
            return -zmq_errno();
        int result = look_around(stream);
        if (!result && monotonic_ns() > deadline)
            result = -ETIMEDOUT;
        if (result && (first || result == -EPIPE || result == -ETIMEDOUT))
            return result;
    }
    return 0;
}

static int send_header(struct stream *stream, enum stream_type type, uint64_t value, uint16_t frames) {
    struct stream_header header = {STREAM_MAGIC, (uint16_t)type, frames, value};
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, sizeof header))
        return -ENOMEM;
    memcpy(zmq_msg_data(&frame), &header, sizeof header);
    int result = send_frame(stream, &frame, frames > 0, true);
    if (result)
        zmq_msg_close(&frame);
    return result;
}

static int send_payload(struct stream *stream, const void *payload, size_t length, bool more) {
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, length))
        return -ENOMEM;
    memcpy(zmq_msg_data(&frame), payload, length);
    int result = send_frame(stream, &frame, more, false);
    if (result)
        zmq_msg_close(&frame);
    return result;
}

int stream_send(struct stream *stream, enum stream_type type, uint64_t value, const void *payload, size_t length) {
    int result = send_header(stream, type, value, length > 0);
    return result || !length ? result : send_payload(stream, payload, length, false);
}

int stream_send_runs(struct stream *stream, enum stream_type type, const struct page_runs *runs) {
    const size_t batch = 32768;
    for (size_t i = 0; i < runs->count; i += batch) {
        size_t count = runs->count - i < batch ? runs->count - i : batch;
        int result = stream_send(stream, type, 0, runs->runs + i, count * sizeof *runs->runs);
        if (result)
            return result;
    }
    return 0;
}

int stream_send_pages(struct stream *stream, pid_t pid, int mem_fd, const struct page_runs *runs, uint64_t *bytes) {
    size_t index = 0;
    uint64_t offset = 0;
    struct page_runs done = {0};
    int result = 0;
    while (index < runs->count && !result) {
        zmq_msg_t frame;
        if (zmq_msg_init_size(&frame, STREAM_CHUNK))
            return -ENOMEM;
        page_runs_clear(&done);
        ssize_t got = pages_read(pid, mem_fd, runs, &index, &offset, zmq_msg_data(&frame), STREAM_CHUNK, &done);
        if (got > 0 && (size_t)got < STREAM_CHUNK) {
            /* Few bytes: a frame of their own size. */
            zmq_msg_t small;
            if (zmq_msg_init_size(&small, (size_t)got)) {
                got = -ENOMEM;
            } else {
                memcpy(zmq_msg_data(&small), zmq_msg_data(&frame), (size_t)got);
                zmq_msg_close(&frame);
                frame = small;
            }
        }
        if (got <= 0)
            result = (int)got;
        if (got > 0 && !(result = send_header(stream, STREAM_PAGES, 0, 2)) &&
            !(result = send_payload(stream, done.runs, done.count * sizeof *done.runs, true)) &&
            !(result = send_frame(stream, &frame, false, false)))
            *bytes += (uint64_t)got;
        else
            zmq_msg_close(&frame);
        if (!result && stream->idle)
            result = stream->idle(stream->arg);
    }
    page_runs_free(&done);
    return result;
}

static int receive_frame(struct stream *stream, zmq_msg_t *frame, uint64_t deadline_ns, bool first) {
    if (zmq_msg_init(frame))
        return -ENOMEM;
    while (zmq_msg_recv(frame, stream->socket, 0) < 0) {
        int result = zmq_errno() == EAGAIN || zmq_errno() == EINTR ? 0 : -zmq_errno();
        if (!result && first)
            result = look_around(stream);
        if (!result && first && monotonic_ns() > deadline_ns)
            result = -ETIMEDOUT;
        if (result) {
            zmq_msg_close(frame);
            return result;
        }
    }
    return 0;
}

int stream_receive(struct stream *stream, struct stream_message *message, int timeout_ms) {
    uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : monotonic_ns() + (uint64_t)timeout_ms * 1000000ull;
    *message = (struct stream_message){0};
    zmq_msg_t frame;
    int result = receive_frame(stream, &frame, deadline, true);
    if (result)
        return result;
    struct stream_header header = {0};
    bool sane = zmq_msg_size(&frame) == sizeof header;
    if (sane)
        memcpy(&header, zmq_msg_data(&frame), sizeof header);
    bool more = zmq_msg_more(&frame);
    zmq_msg_close(&frame);
    for (size_t i = 0; more; i++) {
        if ((result = receive_frame(stream, &frame, deadline, false)))
            break;
        more = zmq_msg_more(&frame);
        zmq_msg_t *kept = i < 2 ? malloc(sizeof *kept) : NULL;
        if (!kept) {
            sane = false;
            zmq_msg_close(&frame);
            continue;
        }
        *kept = frame;
        message->frames[i] = kept;
        message->open[i] = true;
    }
    sane = sane && header.magic == STREAM_MAGIC && header.frames <= 2 && message->open[0] == (header.frames > 0) &&
           message->open[1] == (header.frames > 1);
    if (result || !sane) {
        stream_message_done(message);
        return result ? result : -EBADMSG;
    }
    message->type = header.type;
    message->value = header.value;
    if (message->open[0]) {
        message->first = zmq_msg_data(message->frames[0]);
        message->first_length = zmq_msg_size(message->frames[0]);
    }
    if (message->open[1]) {
        message->second = zmq_msg_data(message->frames[1]);
        message->second_length = zmq_msg_size(message->frames[1]);
    }
    return 0;
}

void stream_message_done(struct stream_message *message) {
    for (int i = 0; i < 2; i++) {
        if (message->open[i])
            zmq_msg_close(message->frames[i]);
        free(message->frames[i]);
    }
    *message = (struct stream_message){0};
}

int stream_runs(const uint8_t *payload, size_t length, struct page_runs *runs) {
    page_runs_clear(runs);
    if (length % sizeof(struct page_run))
        return -EBADMSG;
    uint64_t floor = 0;
    for (size_t at = 0; at < length; at += sizeof(struct page_run)) {
        struct page_run run;
        memcpy(&run, payload + at, sizeof run);
        if (run.start < floor || run.start >= run.end || run.end > arch_user_end() || (run.start | run.end) & 4095)
            return -EBADMSG;
        floor = run.end;
        int result = page_runs_add(runs, run.start, run.end);
        if (result)
            return result;
    }
    return 0;
}
