/* SPDX-License-Identifier: Apache-2.0
 *
 * What a deputy is: the state that its parts share. It has one thread.
 */
#ifndef SKEIN_DEPUTY_H
#define SKEIN_DEPUTY_H

#include "../common/agentlink.h"
#include "../common/keys.h"
#include "../common/protocol.h"
#include "../common/zap.h"
#include "../homefs/homefs.h"
#include "epoch.h"
#include "options.h"
#include "replies.h"
#include "terminal.h"

#include <limits.h>
#include <zmq.h>

#define SESSIONS 2 /* the host of the task, and the next one */
#define FENCED_KEYS 8
#define MOST_ROUTE 32

enum session_state { SESSION_FREE, SESSION_CANDIDATE, SESSION_CURRENT };

/* One shepherd's link. */
struct session {
    enum session_state state;
    char client_public[KEY_TEXT];
    uint32_t epoch; /* the one it may claim, or holds */
    uint32_t host;  /* node number; 0: not known */
    uint8_t route[MOST_ROUTE];
    size_t route_length; /* 0: it is not connected */
    struct replies *replies;
};

/* Bytes for descriptor 1 or 2 of home. */
struct output {
    int descriptor;
    uint64_t received, written; /* offsets from the start of the task */
    uint8_t *bytes;             /* received and not written: bytes[first .. first + length) */
    size_t first, length, room;
    bool ended;   /* the task closed it */
    bool closed;  /* so was ours */
    bool broken;  /* nobody reads it */
    bool blocked; /* it takes nothing now: poll it */
    bool plain;   /* a file: writing waits for nothing */
};

/* Bytes of standard input that the task's host has not acknowledged. */
struct input {
    uint64_t acked, sent, read; /* offsets */
    uint8_t *bytes;             /* from `acked` on, a ring of DP_IN_WINDOW */
    bool eof, eof_sent, broken;
};

struct deputy {
    struct options options;
    char state_folder[PATH_MAX];
    char task[64], address[64];
    void *context, *router;
    struct zap *zap;
    struct agentlink *agent;
    struct homefs *homefs;
    struct key_pair server;
    char endpoint[256];
    struct session sessions[SESSIONS];
    char fenced[FENCED_KEYS][KEY_TEXT];
    unsigned fenced_next;
    struct epoch epoch;
    struct home_terminal terminal;
    struct output output[2];
    struct input input;
    void *spec;
    size_t spec_length;
    char folder[PATH_MAX]; /* of a detached task */
    char epoch_path[PATH_MAX];
    struct mp_reader detached; /* the spec of a detached task */
    uint8_t *reply;            /* HOMEFS_REPLY_MAX */

    uint32_t host, moves;
    uint64_t started_ms; /* since the epoch of the calendar */
    int64_t next_announce_ms, start_deadline_ms, end_deadline_ms;
    bool granted, started; /* the agent gave us a task; its first process runs */
    int stopped_by;        /* the signal that stopped the task, or 0 */
    bool falling_asleep;   /* about to stop ourselves: until the host knows */
    int64_t asleep_deadline_ms;
    bool asleep;             /* stopped, or about to be in this moment */
    int64_t heard_ms;        /* when the task's host was heard last */
    bool ending, exit_acked; /* the task has ended; all its output is written and its host was told */
    bool ended_told;         /* the agent knows */
    uint64_t ended_id;
    int wait_status;
    struct dp_usage usage;
    int exit_status; /* of this program; -1: go on */
    int signals;     /* signalfd */
};

int64_t now_ms(void); /* CLOCK_MONOTONIC */
/* One line on standard error, as a command says it; the program ends with 125. */
void fail(struct deputy *deputy, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* sessions.c: the link to shepherds */
int sessions_open(struct deputy *deputy);
void sessions_close(struct deputy *deputy);
/* Whether a message waits; then sessions_receive. */
bool sessions_ready(struct deputy *deputy);
void sessions_receive(struct deputy *deputy);
/* A session for the shepherd that will claim `epoch`: the keys it needs. A second candidate replaces the first. */
int sessions_candidate(struct deputy *deputy, uint32_t epoch, uint32_t host, struct key_pair *client);
void sessions_drop_candidate(struct deputy *deputy, uint32_t epoch);
/* Take up the session of a deputy before us. */
int sessions_resume(struct deputy *deputy);
struct session *sessions_current(struct deputy *deputy);
bool session_send(struct deputy *deputy, struct session *session, enum dp_type type, uint16_t flags, int32_t value,
                  uint64_t offset, const void *payload, size_t length);

/* streams.c */
void streams_begin(struct deputy *deputy);
void output_received(struct deputy *deputy, int stream, uint64_t offset, const void *bytes, size_t length);
void output_ended(struct deputy *deputy, int stream);
void output_write(struct deputy *deputy, int stream);
bool output_done(const struct deputy *deputy);
bool input_wanted(const struct deputy *deputy);
void input_read(struct deputy *deputy);
void input_acked(struct deputy *deputy, uint64_t offset, bool broken);
/* A new host, or a host that is back: go on from what it has. */
void input_restart(struct deputy *deputy, uint64_t offset);

/* reports.c: what the task does, as its shepherd tells it */
void task_started(struct deputy *deputy);
void task_state(struct deputy *deputy, int stop_signal);
void task_exit(struct deputy *deputy, int wait_status, const void *usage, size_t length);
void task_exec_failed(struct deputy *deputy, int error, const void *step, size_t length);
/* Ends in order once all output is written: the host is told, then the agent, then it is over. */
void task_try_end(struct deputy *deputy);
void task_over(struct deputy *deputy);

/* agent.c */
int agent_open(struct deputy *deputy);
/* The agent's first word: who and where we are. 0 or -errno, said. */
int agent_greet(struct deputy *deputy);
/* Ask for the task to be started. */
int agent_ask(struct deputy *deputy);
void agent_receive(struct deputy *deputy);
void agent_announce(struct deputy *deputy);
void agent_claimed(struct deputy *deputy);
void agent_ended(struct deputy *deputy);

/* detached.c: a task without a terminal. 0 or -errno */
int detached_load(struct deputy *deputy);
bool detached_resumes(const struct deputy *deputy);
int detached_save(const struct deputy *deputy);
int detached_journal(const struct deputy *deputy);
void detached_forget(const struct deputy *deputy);

/* signals.c */
int signals_open(struct deputy *deputy);
void signals_receive(struct deputy *deputy);
/* The task was stopped from the keyboard: so is this program, once the host knows that silence means nothing. */
void signals_fall_asleep(struct deputy *deputy);
void signals_sleep(struct deputy *deputy);

/* loop.c: the exit status */
int deputy_loop(struct deputy *deputy);

#endif
