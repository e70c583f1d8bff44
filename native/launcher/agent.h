/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's process and the launcher's conversation with it.
 */
#ifndef SKEIND_AGENT_H
#define SKEIND_AGENT_H

#include "config.h"
#include "request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_OUTBOX_BYTES (512u << 10)
#define AGENT_WORDS_BYTES 1024

struct agent {
    pid_t pid;           /* 0 when there is none */
    int socket, output;  /* -1 when there is none; `output`: its standard output and error */
    bool ready;          /* this one has said that it serves */
    bool was_ready;      /* one of them has */
    int64_t started_ms;  /* CLOCK_MONOTONIC */
    int64_t deaf_ms;     /* when it closed its socket */
    int64_t restart_ms;  /* when to start the next; 0: no restart is due */
    int64_t back_off_ms; /* what the next wait will be */
    char in[REQUEST_LINE_BYTES];
    size_t in_length;
    bool skipping;                 /* the rest of a line that was too long */
    char words[AGENT_WORDS_BYTES]; /* the line of output being read */
    size_t words_length;
    char first_words[AGENT_WORDS_BYTES]; /* its first line of output */
    char out[AGENT_OUTBOX_BYTES];
    size_t out_length;
};

void agent_init(struct agent *agent);
/* Start one. 0 or -errno. */
int agent_start(struct agent *agent, const char *main_path, const struct config *config);
/* Queue a line for it (the newline is added). Dropped while there is none: the next one is told everything anew. */
void agent_say(struct agent *agent, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Send what is queued, as far as it goes. */
void agent_flush(struct agent *agent);
/* Read what it asks. Calls `obey` for each request that is well-formed; the others are refused with a line in the log.
 */
void agent_read(struct agent *agent, void (*obey)(void *context, const struct request *request), void *context);
/* It said that it serves. */
void agent_is_ready(struct agent *agent);
/* Read what it prints, into the log. */
void agent_read_output(struct agent *agent);
/* It was reaped: read its last words, close everything, set when the next is due. */
void agent_ended(struct agent *agent, int64_t now_ms);

#endif
