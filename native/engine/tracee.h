/* SPDX-License-Identifier: Apache-2.0
 *
 * A process whose threads are all stopped by us.
 */
#ifndef SKEIN_TRACEE_H
#define SKEIN_TRACEE_H

#include "arch.h"
#include <signal.h>

#define TRACEE_MAX_THREADS 32768

struct tracee_thread {
    pid_t tid;              /* as seen here */
    pid_t inner_tid;        /* as the task sees it */
    struct arch_regs regs;  /* where it was stopped */
    uint64_t signal_mask;   /* to be in force when it goes on */
    uint64_t slept_from_ns; /* host CLOCK_MONOTONIC at which it last left the processor, before it was stopped */
    bool group_stopped;     /* by SIGSTOP & co. */
    int pending_signal;     /* stopped on the delivery of this signal, to be put back; 0 if none */
    siginfo_t pending_info;
};

struct tracee {
    pid_t pid;
    struct tracee_thread *threads; /* [0] is the leader */
    size_t thread_count;
};

/* Stop every thread of `pid` (a process of ours, seen in our pid namespace). On failure everything goes on as before.
 * -EBUSY: another tracer; -ETIMEDOUT: a thread did not stop within timeout_ms (uninterruptible sleep); -ESRCH: gone. */
int tracee_freeze(struct tracee *tracee, pid_t pid, int timeout_ms);
/* Stop the leader alone: enough to run system calls in it. The other threads run on. */
int tracee_freeze_leader(struct tracee *tracee, pid_t pid, int timeout_ms);
/* Let everything go on where it was stopped. */
void tracee_thaw(struct tracee *tracee);
/* Give up the memory only: the process is dead or handed over. */
void tracee_free(struct tracee *tracee);
/* Wait for one ptrace stop of `tid`. 0 with *status, -ESRCH when it is dead, -ETIMEDOUT. */
int tracee_wait_stop(pid_t tid, int *status, int timeout_ms);
uint64_t monotonic_ns(void);

#endif
