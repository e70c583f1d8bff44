/* SPDX-License-Identifier: Apache-2.0
 *
 * The shepherd's side of a capsule: the namespaces a task lives in on its host.
 */
#ifndef SKEIN_CAPSULE_H
#define SKEIN_CAPSULE_H

#include "../engine/process.h"
#include "capsule_wire.h"

struct capsule {
    pid_t init_pid;                    /* as seen here */
    int control;                       /* socket to init; readable when a child report waits */
    struct capsule_child children[64]; /* reports that came while an answer was awaited */
    size_t child_count;
    char step[80]; /* the step of init that failed last */
};

/* Fork init into new namespaces. Before any thread and before ZeroMQ. 0 or -errno. */
int capsule_fork(struct capsule *capsule);
/* Map one id: `uid` inside is who we are outside. */
int capsule_map_ids(struct capsule *capsule, uint32_t uid, uint32_t gid);
/* Mount home; `attach` gets the FUSE descriptor as soon as there is one, and must serve it from then on. */
int capsule_mount(struct capsule *capsule, const struct capsule_identity *identity, int (*attach)(void *, int),
                  void *arg);
/* Make standard streams: a terminal (its master), and/or pipes for those of 0, 1, 2 that are asked for. */
int capsule_stdio(struct capsule *capsule, bool terminal, const bool pipes[3], int *master, int ends[3]);
/* Start the task's first process: its pid inside, or -errno with capsule->step. */
int capsule_spawn(struct capsule *capsule, const void *program, size_t length);
/* Make the process that will be restored. */
int capsule_restore(struct capsule *capsule, pid_t pid, const struct capsule_group *group);
int capsule_time(struct capsule *capsule, uint64_t monotonic_ns, uint64_t boottime_ns);
int capsule_signal(struct capsule *capsule, int signal, pid_t pid);
/* A child report, if there is one now. 1 yes, 0 no, -EPIPE init is gone. */
int capsule_next_child(struct capsule *capsule, struct capsule_child *child);
/* Begin to kill everything in it. Whether it is dead within that time. */
bool capsule_dies(struct capsule *capsule, int timeout_ms);
/* Kill everything in it and reap init, and all of it that we trace. */
void capsule_kill(struct capsule *capsule);
/* The process inside with this pid, as seen here; -ESRCH. */
pid_t capsule_find(const struct capsule *capsule, pid_t inner);
/* How many processes there are besides init. */
int capsule_count(const struct capsule *capsule);
/* Device and mount id of home's files in it. */
int capsule_root(const struct capsule *capsule, uint64_t *device, int *mount_id);

#endif
