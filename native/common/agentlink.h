/* SPDX-License-Identifier: Apache-2.0
 *
 * A native program's conversation with its node's agent (docs/protocol.md, section 3).
 *
 *     agentlink_open(&options, &link);
 *     loop: poll agentlink_fd(link) for POLLIN; while (agentlink_next(link, &message)) …
 *
 * One thread uses a link. To say something: fill the packer of agentlink_begin(), then send it with one of
 * agentlink_event/request/answer. Nothing may be sent before AGENTLINK_UP, except that requests wait for it.
 */
#ifndef SKEIN_AGENTLINK_H
#define SKEIN_AGENTLINK_H

#include "mp.h"

#define AGENTLINK_MAX_BYTES (1u << 20)
#define AGENTLINK_MAX_REQUESTS 32

struct agentlink;

struct agentlink_options {
    void *context;     /* ZeroMQ */
    const char *state; /* the node folder */
    const char *role;  /* "deputy", "shepherd" or "client" */
    const char *task;  /* may be NULL */
    const char *token; /* may be NULL: then the agent asks for a proof by file */
};

enum agentlink_kind {
    AGENTLINK_UP = 1,  /* the agent accepted hello; body: its answer. Again after each restart of the agent */
    AGENTLINK_DENIED,  /* the agent refused hello: code, text. Tried again every 2 s until closed */
    AGENTLINK_REQUEST, /* type, body; answer it with agentlink_answer or agentlink_error and this id */
    AGENTLINK_EVENT,   /* type, body */
    AGENTLINK_OK,      /* the answer to request `id`: body */
    AGENTLINK_ERROR,   /* request `id` failed: code, text. Made here: "timeout", "agent-lost" */
};

struct agentlink_message {
    enum agentlink_kind kind;
    uint64_t id;
    char type[32];
    const msgpack_object *body; /* the whole map; NULL when made here. Valid until the next agentlink_next or _wait */
    char code[40], text[256];   /* of errors */
};

/* Makes the socket and begins to say hello. 0 or -errno. No agent is no error: it may come. */
int agentlink_open(const struct agentlink_options *options, struct agentlink **link);
/* Readable whenever agentlink_next has work, deadlines included. Level-triggered, for poll or epoll. */
int agentlink_fd(struct agentlink *link);
/* The next thing that happened. Call until false after each wake-up. */
bool agentlink_next(struct agentlink *link, struct agentlink_message *message);
/* Blocks for it, at most timeout_ms (-1: no limit). False on time-out; EINTR is waited through. */
bool agentlink_wait(struct agentlink *link, struct agentlink_message *message, int timeout_ms);

/* Begin a message {v, t: type}; add fields with mp_add_*. */
struct mp_packer *agentlink_begin(struct agentlink *link, const char *type);
/* Send what was begun. 0; -EAGAIN: no agent now, dropped; -EMSGSIZE, -ENOMEM, -EINVAL (the packer failed). */
int agentlink_event(struct agentlink *link);
/* As a request. `repeat`: sent again each second until answered (only for what may be done twice); otherwise it fails
 * with "agent-lost" when the agent restarts. timeout_ms -1: none. Sends at once, or at AGENTLINK_UP. 0 or -errno. */
int agentlink_request(struct agentlink *link, int timeout_ms, bool repeat, uint64_t *id);
/* As the answer to request `id` (begin it with type "ok"). */
int agentlink_answer(struct agentlink *link, uint64_t id);
int agentlink_error(struct agentlink *link, uint64_t id, const char *code, const char *text);

/* Waits at most linger_ms for what was sent to leave (together with zmq_ctx_term). NULL is fine. */
void agentlink_close(struct agentlink *link, int linger_ms);

#endif
