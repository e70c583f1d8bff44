/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages and state on their way from one shepherd to the next.
 *
 * Theory of operation. One DEALER each, CURVE, keys made by the receiver for this one move. A message is a header frame
 * and up to two payload frames. High-water marks are low, so that neither end holds more than some MiB whatever the
 * size of the task: the sender waits (and looks after its other duties) when the receiver is behind.
 */
#ifndef SKEIN_STREAM_H
#define SKEIN_STREAM_H

#include "pages.h"
#include <stdbool.h>
#include <stdint.h>

#define STREAM_MAGIC 0x31525453u /* "STR1" */
#define STREAM_CHUNK (1u << 20)
#define STREAM_MAX_BYTES (IMAGE_MAX_BYTES + (1u << 20))

enum stream_type {
    STREAM_HELLO = 1, /* payload: struct stream_hello */
    STREAM_AREAS,     /* packed areas */
    STREAM_FRESH,     /* runs: what is there is void */
    STREAM_PAGES,     /* runs; contents */
    STREAM_SYNC,      /* answered by STREAM_SYNCED when all before it is done */
    STREAM_FINAL,     /* the rest of the task; the receiver builds, claims, resumes */
    STREAM_SYNCED = 32,
    STREAM_RESUMED,
    STREAM_FAILED, /* payload: text */
};

struct stream_header {
    uint32_t magic;
    uint16_t type, frames; /* payload frames that follow: 0 to 2 */
    uint64_t value;
};
struct stream_hello {
    int32_t pid, pgid;
    uint32_t foreground, terminal, pipes; /* pipes: bits 0 to 2 */
};

struct stream {
    void *socket;
    void *monitor; /* NULL: not watched */
    bool broken;
    /* Called while waiting; non-zero ends the wait with that result. */
    int (*idle)(void *arg);
    void *arg;
};

struct stream_message {
    uint16_t type;
    uint64_t value;
    const uint8_t *first, *second; /* valid until stream_message_done */
    size_t first_length, second_length;
    void *frames[2];
    bool open[2];
};

/* Socket options that both ends need, before connect or bind. */
int stream_prepare(void *socket);
/* The end that dials, before it does: from then on a connection that breaks is noticed (-EPIPE), since the other end of
 * a move never comes back. */
int stream_watch(struct stream *stream, void *context);
void stream_close(struct stream *stream);
int stream_send(struct stream *stream, enum stream_type type, uint64_t value, const void *payload, size_t length);
/* Send what `runs` has of the process, in chunks. *bytes grows by what was sent. */
int stream_send_pages(struct stream *stream, pid_t pid, int mem_fd, const struct page_runs *runs, uint64_t *bytes);
int stream_send_runs(struct stream *stream, enum stream_type type, const struct page_runs *runs);
/* 0, -ETIMEDOUT, -EPIPE, -EBADMSG, or what idle returned. timeout_ms -1: none. */
int stream_receive(struct stream *stream, struct stream_message *message, int timeout_ms);
void stream_message_done(struct stream_message *message);
/* The runs in a payload, checked: page-aligned, rising, in user space. */
int stream_runs(const uint8_t *payload, size_t length, struct page_runs *runs);

#endif
