/* SPDX-License-Identifier: Apache-2.0
 *
 * The launcher's loop: keeps an agent, starts what it asks for, reaps, and ends everything.
 */
#ifndef SKEIND_SUPERVISE_H
#define SKEIND_SUPERVISE_H

#include "config.h"
#include "programs.h"

#include <signal.h>

struct launcher {
    struct config config;
    struct programs programs;
    int native_log; /* what the natives print */
    int lifeline;   /* isolate: ends when the outer process does; else -1 */
    int pid_file;   /* skeind.pid, locked */
};

/* The signals that the loop takes from a signalfd: block them before anything is started. */
void supervise_signals(sigset_t *set);
/* Run until SIGTERM, SIGINT, SIGHUP, the end of the lifeline, or an agent that can't go on. Returns the exit status; by
 * then every process that descends from this one is dead. */
int supervise(struct launcher *launcher);

#endif
