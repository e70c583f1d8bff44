/* SPDX-License-Identifier: Apache-2.0
 *
 * The deputies and shepherds that the launcher started.
 */
#ifndef SKEIND_CHILDREN_H
#define SKEIND_CHILDREN_H

#include "agent.h"
#include "programs.h"

#include <poll.h>

#define MAX_CHILDREN 4096
/* How long the end of a child is told to agents that start. */
#define ENDED_KEPT_MS 60000

enum child_stage { CHILD_FREE, CHILD_STARTING, CHILD_RUNNING, CHILD_ENDED };

struct child {
    enum child_stage stage;
    uint64_t number;
    pid_t pid;
    enum role role;
    uid_t uid;
    char task[TASK_BYTES];
    bool silent;      /* `failed` was told: its end is no news */
    int word;         /* read end of the pipe on which a child says why it could not execute; -1 after that */
    int wait_status;  /* when ended */
    int64_t ended_ms; /* CLOCK_MONOTONIC, when ended */
};

struct children {
    struct child list[MAX_CHILDREN];
    int used; /* entries that may be taken: those beyond are free */
    const struct programs *programs;
    const char *state; /* the node folder */
    int log;           /* what the natives' standard output and error go to */
};

/* Start one and tell the agent `failed` if that can't be; `started` follows when it executes. */
void children_start(struct children *children, struct agent *agent, const struct request *request);
void children_signal(struct children *children, const struct request *request);
/* Add the descriptors to watch. Returns how many. */
int children_poll(const struct children *children, struct pollfd *watched, int room);
/* Look at those that are starting. */
void children_progress(struct children *children, struct agent *agent);
/* A process was reaped. Whether it was one of these. */
bool children_reaped(struct children *children, struct agent *agent, pid_t pid, int wait_status, int64_t at_ms);
/* Tell a new agent of all there are. */
void children_tell(struct children *children, struct agent *agent, int64_t at_ms);
/* Send a signal to all that live. */
void children_signal_all(const struct children *children, int signal);
int children_alive(const struct children *children);

#endif
