/* SPDX-License-Identifier: Apache-2.0
 *
 * What a shepherd is: the state that its parts share. One thread (main) owns it; the relay has its own.
 */
#ifndef SKEIN_SHEPHERD_H
#define SKEIN_SHEPHERD_H

#include "../common/agentlink.h"
#include "../common/keys.h"
#include "../engine/process.h"
#include "../engine/stream.h"
#include "capsule.h"
#include "relay.h"

#define KEEP_FROZEN_AFTER_S 30
#define KILL_AFTER_S 3600

struct assignment {
    bool receive;
    char task[64], address[64];
    uint32_t epoch, uid, gid;
    char endpoint[128], server_key[KEY_TEXT], client_secret[KEY_TEXT], client_public[KEY_TEXT];
};

/* What the welcome said of the task. */
struct spec {
    struct mp_reader reader;
    const msgpack_object *map;
    bool tty;
    uint32_t terminals, closed;
    char host_name[65];
    uint32_t uid, gid;
};

struct shepherd {
    void *context;
    struct agentlink *agent;
    struct relay *relay;
    struct capsule capsule;
    struct engine_capsule facts;
    struct assignment assignment;
    struct spec spec;
    struct wait_memo waits;
    uint8_t claimant[DP_CLAIMANT];
    uint32_t epoch;
    pid_t inner, pid; /* the task's first process: as it sees itself, as seen here */
    int terminal;     /* a descriptor of the master, or -1 */
    int stdin_path;   /* O_PATH of the standard input pipe, or -1 */
    int stopped_by;   /* signal, or 0 */
    bool held;        /* stopped by us, because home is out of reach */
    bool ended;       /* the first process has ended */
    bool exit_acked, fenced, quit, aborted;
    int wait_status;
    struct dp_usage usage;
    uint64_t asked_id; /* the request that a move answers */
    uint64_t next_announce_ns;
    void *door; /* the socket it arrived through: open until the end, so that the last words are read */
    struct zap *zap;
};

/* spec.c */
int spec_read(struct shepherd *shepherd);
/* The capsule_program of the spec: fresh memory. */
int spec_program(const struct shepherd *shepherd, void **program, size_t *length);

/* capsule set-up that start and receive share: build.c. *step says what failed. */
int build_capsule(struct shepherd *shepherd, const char **step);
/* Make the standard streams; *stdio are the host ends. */
int build_stdio(struct shepherd *shepherd, struct relay_stdio *stdio);

/* start.c: returns when the task runs, or -errno after it has told everybody. */
int shepherd_start(struct shepherd *shepherd);
/* receive.c: returns when the task runs here, or -errno: there is nothing here. */
int shepherd_receive(struct shepherd *shepherd);
/* send.c: answers the request. True: the task has left, nothing is here any more. */
bool shepherd_send(struct shepherd *shepherd, const msgpack_object *request);
void shepherd_why(struct shepherd *shepherd, uint64_t id);

/* loop.c: look after what has happened, without waiting. Non-zero: stop what you are doing (the task has ended, home
 * ended it, another host has it, or the agent called the move off). */
int shepherd_pump(struct shepherd *shepherd);
/* Until nothing is left to do. The exit status of this program. */
int shepherd_loop(struct shepherd *shepherd);
void shepherd_stage(struct shepherd *shepherd, const char *stage);

/* announce.c */
void shepherd_announce(struct shepherd *shepherd);
/* Not more often than that. The agent takes who is silent for gone. */
void shepherd_announce_each_second(struct shepherd *shepherd);

#endif
