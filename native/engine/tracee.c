/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. PTRACE_SEIZE does not disturb a thread; PTRACE_INTERRUPT then stops it with PTRACE_EVENT_STOP,
 * in the middle of a system call if need be. New threads can appear while we go through the list, so it is read again
 * until nothing new is found; a stopped process makes no more. A thread that is about to take a signal reports that
 * signal instead of the interrupt: it is noted and put back when the thread goes on (PTRACE_CONT with the signal).
 * A seized thread in group-stop (SIGSTOP) reports PTRACE_EVENT_STOP with the stopping signal.
 *
 * When a thread is in a timed wait, the kernel keeps the end of it to itself. /proc/TID/sched tells when it last ran
 * (se.exec_start, the scheduler's clock), which is when the wait began: read before the thread is stopped, because
 * stopping runs it. Off by what interrupts took on that processor since then (seen: well under a percent).
 */
#include "tracee.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* se.exec_start in ns, or 0 where the kernel does not tell. */
static uint64_t exec_start_ns(const char *path) {
    char text[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    const char *line = strstr(text, "se.exec_start");
    if (!line || !(line = strchr(line, ':')))
        return 0;
    unsigned long long ms = 0, fraction = 0;
    if (sscanf(line + 1, " %llu.%6llu", &ms, &fraction) != 2)
        return 0;
    return ms * 1000000ull + fraction;
}

/* CLOCK_MONOTONIC less the scheduler's clock of one processor, in ns. Those clocks leave out what interrupts and the
 * hypervisor took, so each has its own; ours, read right after we came to run there, tells. Kept for one freeze. */
struct clock_offsets {
    cpu_set_t allowed;
    bool moved;
    int64_t offset_ns[CPU_SETSIZE];
    bool known[CPU_SETSIZE];
};

static int64_t clock_offset(struct clock_offsets *offsets, int cpu) {
    if (!offsets->known[cpu]) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) == 0) /* where we may not run, our own processor has to do */
            offsets->moved = true;
        offsets->offset_ns[cpu] = (int64_t)monotonic_ns() - (int64_t)exec_start_ns("/proc/thread-self/sched");
        offsets->known[cpu] = true;
    }
    return offsets->offset_ns[cpu];
}

static void clock_offsets_done(struct clock_offsets *offsets) {
    if (offsets->moved && sched_setaffinity(0, sizeof offsets->allowed, &offsets->allowed))
        CPU_ZERO(&offsets->allowed); /* processors went away meanwhile: we stay where we are */
    offsets->moved = false;
}

/* The processor it ran on last, or -1. */
static int last_processor(const char *path) {
    char text[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return -1;
    text[length] = 0;
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 39; field++)
        at = strchr(at + 1, ' ');
    int cpu = at ? atoi(at + 1) : -1;
    return cpu >= 0 && cpu < CPU_SETSIZE ? cpu : -1;
}

static uint64_t slept_from(struct clock_offsets *offsets, pid_t pid, pid_t tid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/sched", pid, tid);
    uint64_t theirs = exec_start_ns(path), now = monotonic_ns();
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    int cpu = theirs ? last_processor(path) : -1;
    if (cpu < 0)
        return now;
    int64_t from = (int64_t)theirs + clock_offset(offsets, cpu);
    return from <= 0 ? 0 : (uint64_t)from > now ? now : (uint64_t)from;
}

static pid_t inner_tid_of(pid_t pid, pid_t tid) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return -1;
    text[length] = 0;
    char *line = strstr(text, "\nNSpid:");
    if (!line)
        return -1;
    line += 7;
    pid_t last = -1;
    while (*line && *line != '\n') {
        char *end;
        long value = strtol(line, &end, 10);
        if (end == line)
            break;
        last = (pid_t)value;
        line = end;
    }
    return last;
}

int tracee_wait_stop(pid_t tid, int *status, int timeout_ms) {
    uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * 1000000ull;
    /* waitpid has no time-out: spin shortly, as a stop takes microseconds, then nap. */
    for (unsigned turn = 0;; turn++) {
        pid_t got = waitpid(tid, status, __WALL | WNOHANG);
        if (got == tid)
            return WIFSTOPPED(*status) ? 0 : -ESRCH;
        if (got < 0 && errno != EINTR)
            return errno == ECHILD ? -ESRCH : -errno;
        if (turn < 64) {
            sched_yield();
            continue;
        }
        if (monotonic_ns() > deadline)
            return -ETIMEDOUT;
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
}

static struct tracee_thread *find_thread(struct tracee *tracee, pid_t tid) {
    for (size_t i = 0; i < tracee->thread_count; i++)
        if (tracee->threads[i].tid == tid)
            return &tracee->threads[i];
    return NULL;
}

/* Seize and interrupt every thread not known yet. Returns how many were new, or -errno. */
static int seize_new(struct tracee *tracee, struct clock_offsets *offsets, bool leader_only) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", tracee->pid);
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    int found = 0, result = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);
        if (tid <= 0 || (leader_only && tid != tracee->pid) || (tracee->thread_count && find_thread(tracee, tid)))
            continue;
        if (tracee->thread_count >= TRACEE_MAX_THREADS) {
            result = -E2BIG;
            break;
        }
        if ((tracee->thread_count & (tracee->thread_count - 1)) == 0) {
            size_t room = tracee->thread_count ? tracee->thread_count * 2 : 1;
            struct tracee_thread *grown = realloc(tracee->threads, room * sizeof *grown);
            if (!grown) {
                result = -ENOMEM;
                break;
            }
            tracee->threads = grown;
        }
        uint64_t from = slept_from(offsets, tracee->pid, tid);
        if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)) {
            if (errno == ESRCH)
                continue; /* it just ended */
            result = errno == EPERM ? -EBUSY : -errno;
            break;
        }
        struct tracee_thread *thread = &tracee->threads[tracee->thread_count++];
        *thread = (struct tracee_thread){.tid = tid, .slept_from_ns = from};
        if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) && errno != ESRCH) {
            result = -errno;
            break;
        }
        found++;
    }
    closedir(dir);
    return result ? result : found;
}

static void drop_thread(struct tracee *tracee, size_t index) {
    tracee->threads[index] = tracee->threads[--tracee->thread_count];
}

static int settle(struct tracee *tracee, size_t from, int timeout_ms) {
    for (size_t i = from; i < tracee->thread_count;) {
        struct tracee_thread *thread = &tracee->threads[i];
        int status;
        int result = tracee_wait_stop(thread->tid, &status, timeout_ms);
        if (result == -ESRCH) {
            if (thread->tid == tracee->pid)
                return -ESRCH;
            drop_thread(tracee, i);
            continue;
        }
        if (result)
            return result;
        if (status >> 16 == PTRACE_EVENT_STOP) {
            int signal = WSTOPSIG(status);
            thread->group_stopped = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
        } else if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            thread->pending_signal = WSTOPSIG(status);
            if (ptrace(PTRACE_GETSIGINFO, thread->tid, 0, &thread->pending_info))
                return -errno;
        }
        if ((result = arch_get_regs(thread->tid, &thread->regs)))
            return result;
        if (ptrace(0x420a /* PTRACE_GETSIGMASK */, thread->tid, (void *)8, &thread->signal_mask))
            return -errno;
        thread->inner_tid = inner_tid_of(tracee->pid, thread->tid);
        if (thread->inner_tid <= 0)
            return -EIO;
        i++;
    }
    return 0;
}

static int freeze(struct tracee *tracee, pid_t pid, int timeout_ms, bool leader_only) {
    *tracee = (struct tracee){.pid = pid};
    struct clock_offsets offsets = {.moved = false};
    if (sched_getaffinity(0, sizeof offsets.allowed, &offsets.allowed))
        return -errno;
    int result;
    for (;;) {
        size_t known = tracee->thread_count;
        int found = seize_new(tracee, &offsets, leader_only);
        result = found < 0 ? found : settle(tracee, known, timeout_ms);
        if (result)
            break;
        if (found == 0) {
            struct tracee_thread *leader = find_thread(tracee, pid);
            if (!leader) {
                result = -ESRCH;
                break;
            }
            struct tracee_thread first = tracee->threads[0];
            tracee->threads[0] = *leader;
            *leader = first;
            clock_offsets_done(&offsets);
            return 0;
        }
    }
    clock_offsets_done(&offsets);
    tracee_thaw(tracee);
    return result;
}

int tracee_freeze(struct tracee *tracee, pid_t pid, int timeout_ms) {
    return freeze(tracee, pid, timeout_ms, false);
}

int tracee_freeze_leader(struct tracee *tracee, pid_t pid, int timeout_ms) {
    return freeze(tracee, pid, timeout_ms, true);
}

void tracee_thaw(struct tracee *tracee) {
    for (size_t i = 0; i < tracee->thread_count; i++) {
        struct tracee_thread *thread = &tracee->threads[i];
        /* A thread that has not come to its stop yet can't be detached from: it comes by itself in a moment. */
        if (ptrace(PTRACE_DETACH, thread->tid, 0, (void *)(long)thread->pending_signal) && errno == ESRCH) {
            int status;
            if (tracee_wait_stop(thread->tid, &status, 5000) == 0)
                ptrace(PTRACE_DETACH, thread->tid, 0, (void *)(long)thread->pending_signal);
        }
    }
    tracee_free(tracee);
}

void tracee_free(struct tracee *tracee) {
    free(tracee->threads);
    *tracee = (struct tracee){0};
}
