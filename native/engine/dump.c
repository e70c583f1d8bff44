/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. What the kernel tells from outside is read from /proc and by ptrace; the rest is asked by system
 * calls that the process makes itself, in one run of the stub for the process and one for each thread. Nothing here
 * changes the process: after a dump it can go on.
 *
 * PTRACE_GETSIGMASK returns the mask that will be in force when a call such as sigsuspend is over, which is the one to
 * restore: the call is made again and sets its own. A thread inside an rseq critical section is sent to its abort
 * handler, as any preemption may do.
 */
#include "process.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void stay_because(struct stay_reasons *reasons, int pid, const char *kind, const char *format, ...) {
    if (!reasons || reasons->count >= sizeof reasons->reasons / sizeof *reasons->reasons)
        return;
    reasons->reasons[reasons->count].pid = pid;
    snprintf(reasons->reasons[reasons->count].kind, sizeof reasons->reasons->kind, "%s", kind);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reasons->reasons[reasons->count].detail, sizeof reasons->reasons->detail, format, arguments);
    va_end(arguments);
    reasons->count++;
}

static ssize_t read_file(const char *path, char *to, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t length = 0;
    ssize_t got;
    while (length < room - 1 && (got = read(fd, to + length, room - 1 - length)) > 0)
        length += (size_t)got;
    to[length] = 0;
    close(fd);
    return (ssize_t)length;
}

static unsigned long long status_field(const char *status, const char *name, int base) {
    const char *at = strstr(status, name);
    return at ? strtoull(at + strlen(name), NULL, base) : 0;
}

static void areas_probe(pid_t pid, const struct area_list *areas, struct stay_reasons *reasons) {
    for (size_t i = 0; i < areas->count; i++) {
        const struct area *area = &areas->areas[i];
        if (area->kind == AREA_OTHER)
            stay_because(reasons, pid, "memory", "area %llx-%llx of %s can't be moved yet",
                         (unsigned long long)area->start, (unsigned long long)area->end,
                         *area->path ? area->path : "shared memory");
        else if (area->kind == AREA_FILE_SHARED && area->flags & AREA_FLAG_MAYSHARE_WRITE)
            stay_because(reasons, pid, "memory", "a shared, writable mapping of %s can't be moved yet", area->path);
    }
}

static void status_probe(pid_t pid, struct stay_reasons *reasons) {
    char path[64], status[8192];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (read_file(path, status, sizeof status) <= 0)
        return;
    if (status_field(status, "\nTracerPid:\t", 10))
        stay_because(reasons, pid, "ptrace", "it is traced by process %llu",
                     status_field(status, "\nTracerPid:\t", 10));
    if (status_field(status, "\nSeccomp:\t", 10))
        stay_because(reasons, pid, "seccomp", "it runs under a seccomp filter");
    const char *uid = strstr(status, "\nUid:\t");
    unsigned a, b, c, d;
    if (uid && sscanf(uid + 6, "%u %u %u %u", &a, &b, &c, &d) == 4 && !(a == b && b == c && c == d))
        stay_because(reasons, pid, "credentials", "it runs with mixed user ids");
}

int process_probe(pid_t pid, const struct engine_capsule *capsule, struct stay_reasons *reasons) {
    struct area_list areas;
    int result = maps_read(pid, 0, capsule->file_device, &areas);
    if (result)
        return result;
    areas_probe(pid, &areas, reasons);
    maps_free(&areas);
    status_probe(pid, reasons);
    return fds_probe(pid, capsule, reasons);
}

static int dump_stat(pid_t pid, struct process_core *core) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_file(path, text, sizeof text) <= 0)
        return -ESRCH;
    char *at = strrchr(text, ')');
    if (!at)
        return -EIO;
    unsigned long long field[53] = {0};
    int index = 3;
    for (at = strtok(at + 1, " "); at && index < 53; at = strtok(NULL, " "), index++)
        field[index] = strtoull(at, NULL, 10);
    if (index < 52)
        return -EIO;
    const int order[11] = {26, 27, 45, 46, 47, 0, 28, 48, 49, 50, 51};
    for (int i = 0; i < 11; i++)
        core->mm[i] = field[order[i]];
    return 0;
}

static int dump_pending(pid_t tid, unsigned shared, siginfo_t **list, size_t *count) {
    siginfo_t batch[32];
    struct __ptrace_peeksiginfo_args arguments = {.off = 0, .flags = shared, .nr = 32};
    for (;;) {
        long got = ptrace(PTRACE_PEEKSIGINFO, tid, &arguments, batch);
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        if (*count + (size_t)got > PROCESS_MAX_PENDING)
            return -E2BIG;
        siginfo_t *grown = realloc(*list, (*count + (size_t)got) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        memcpy(grown + *count, batch, (size_t)got * sizeof *batch);
        *list = grown;
        *count += (size_t)got;
        arguments.off += (uint64_t)got;
    }
}

static char *read_link(const char *path) {
    char target[MAPS_MAX_PATH + 32];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0)
        return NULL;
    target[length] = 0;
    return strdup(target);
}

/* Layout of the scratch data area during the process-wide run. */
enum { AT_ACTIONS = 0, AT_ITIMERS = 4096, AT_RLIMITS = 8192, AT_WORDS = 12288, AT_TIMERS = 16384 };

static int dump_timers(pid_t pid, struct remote *remote, struct process_image *image) {
    char path[64];
    static char text[65536];
    snprintf(path, sizeof path, "/proc/%d/timers", pid);
    ssize_t length = read_file(path, text, sizeof text);
    if (length <= 0)
        return 0; /* no timers, or a kernel without this file */
    image->timers = calloc(PROCESS_MAX_TIMERS, sizeof *image->timers);
    if (!image->timers)
        return -ENOMEM;
    for (char *at = strstr(text, "ID:"); at; at = strstr(at + 1, "\nID:")) {
        if (*at == '\n')
            at++;
        if (image->timer_count == PROCESS_MAX_TIMERS)
            return -E2BIG;
        struct timer_image *timer = &image->timers[image->timer_count++];
        unsigned long long pointer;
        char how[16], whom[8];
        if (sscanf(at, "ID: %d\nsignal: %d/%llx\nnotify: %15[^/]/%3s.%d\nClockID: %d", &timer->id, &timer->signal,
                   &pointer, how, whom, &timer->target_tid, &timer->clock) < 7)
            return -EIO;
        timer->value_pointer = pointer;
        bool thread = !strncmp(whom, "tid", 3);
        timer->notify = !strcmp(how, "none") ? SIGEV_NONE : thread ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
    }
    for (size_t i = 0; i < image->timer_count; i++) {
        REMOTE_QUEUE(remote, SYS_timer_gettime, image->timers[i].id, remote->data.addr + AT_TIMERS + 32 * i);
        REMOTE_QUEUE(remote, SYS_timer_getoverrun, image->timers[i].id);
    }
    int result = remote_run(remote);
    for (size_t i = 0; i < image->timer_count && !result; i++) {
        struct timer_image *timer = &image->timers[i];
        if (remote_result(remote, 2 * i))
            return (int)remote_result(remote, 2 * i);
        timer->overrun = (int32_t)remote_result(remote, 2 * i + 1);
        uint64_t times[4];
        result = remote_read(remote, (struct rptr){remote->data.addr + AT_TIMERS + 32 * i}, times, sizeof times);
        timer->interval_s = times[0], timer->interval_ns = times[1];
        timer->value_s = times[2], timer->value_ns = times[3];
    }
    return result;
}

static int dump_process_wide(pid_t pid, struct remote *remote, struct process_image *image) {
    struct process_core *core = &image->core;
    uint64_t data = remote->data.addr;
    for (int i = 0; i < PROCESS_SIGNALS; i++)
        REMOTE_QUEUE(remote, SYS_rt_sigaction, i + 1, 0, data + AT_ACTIONS + 32 * (uint64_t)i, 8);
    for (int i = 0; i < 3; i++)
        REMOTE_QUEUE(remote, SYS_getitimer, i, data + AT_ITIMERS + 32 * (uint64_t)i);
    for (int i = 0; i < PROCESS_RLIMITS; i++)
        REMOTE_QUEUE(remote, SYS_prlimit64, 0, i, 0, data + AT_RLIMITS + 16 * (uint64_t)i);
    size_t brk = REMOTE_QUEUE(remote, SYS_brk, 0);
    size_t dumpable = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_DUMPABLE);
    size_t privileges = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_NO_NEW_PRIVS);
    size_t personality = REMOTE_QUEUE(remote, SYS_personality, 0xffffffff);
    size_t keep = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_KEEPCAPS);
    size_t subreaper = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_CHILD_SUBREAPER, data + AT_WORDS);
    size_t thp = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_THP_DISABLE);
    size_t monotonic = REMOTE_QUEUE(remote, SYS_clock_gettime, CLOCK_MONOTONIC, data + AT_WORDS + 16);
    size_t boottime = REMOTE_QUEUE(remote, SYS_clock_gettime, CLOCK_BOOTTIME, data + AT_WORDS + 32);
    int result = remote_run(remote);
    if (result)
        return result;
    if (remote_result(remote, monotonic) || remote_result(remote, boottime))
        return -EIO;
    core->mm[5] = (uint64_t)remote_result(remote, brk);
    core->dumpable = (uint32_t)remote_result(remote, dumpable);
    core->no_new_privs = remote_result(remote, privileges) == 1;
    core->personality = (uint32_t)remote_result(remote, personality);
    core->keep_capabilities = remote_result(remote, keep) == 1;
    core->thp_disable = remote_result(remote, thp) > 0;
    uint64_t words[6];
    if ((result = remote_read(remote, (struct rptr){data + AT_WORDS}, words, sizeof words)) ||
        (result = remote_read(remote, (struct rptr){data + AT_ACTIONS}, core->actions, sizeof core->actions)) ||
        (result = remote_read(remote, (struct rptr){data + AT_ITIMERS}, core->itimers, sizeof core->itimers)) ||
        (result = remote_read(remote, (struct rptr){data + AT_RLIMITS}, core->rlimits, sizeof core->rlimits)))
        return result;
    core->subreaper = remote_result(remote, subreaper) == 0 && (words[0] & 0xffffffff);
    core->task_monotonic_ns = words[2] * 1000000000ull + words[3];
    core->task_boottime_ns = words[4] * 1000000000ull + words[5];
    return dump_timers(pid, remote, image);
}

static int dump_credentials(pid_t pid, struct process_core *core) {
    char path[64], status[8192];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (read_file(path, status, sizeof status) <= 0)
        return -ESRCH;
    core->umask = (uint32_t)status_field(status, "\nUmask:\t", 8);
    core->inheritable_capabilities = status_field(status, "\nCapInh:\t", 16);
    core->permitted_capabilities = status_field(status, "\nCapPrm:\t", 16);
    core->effective_capabilities = status_field(status, "\nCapEff:\t", 16);
    core->ambient_capabilities = status_field(status, "\nCapAmb:\t", 16);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    if (read_file(path, status, sizeof status) > 0)
        core->oom_score_adj = atoi(status);
    return 0;
}

/* See the theory of operation. */
static void leave_critical_section(const struct remote *remote, struct thread_core *core) {
    uint64_t section[4], pointer = 0;
    if (!core->rseq_pointer || remote_read(remote, (struct rptr){core->rseq_pointer + 8}, &pointer, 8) || !pointer ||
        remote_read(remote, (struct rptr){pointer}, section, sizeof section))
        return;
    uint64_t pc = arch_program_counter(&core->regs);
    if (pc >= section[1] && pc < section[1] + section[2]) {
        arch_set_program_counter(&core->regs, section[3]);
        uint64_t none = 0;
        if (remote_write(remote, (struct rptr){core->rseq_pointer + 8}, &none, 8))
            return;
    }
}

static int dump_thread(const struct tracee *tracee, const struct tracee_thread *thread, struct remote *remote,
                       const struct wait_memo *memo, uint64_t offset_ns, struct thread_image *image) {
    struct thread_core *core = &image->core;
    core->tid = thread->inner_tid;
    core->regs = thread->regs;
    core->signal_mask = thread->signal_mask;
    core->pending_signal = (uint32_t)thread->pending_signal;
    core->pending_info = thread->pending_info;
    core->group_stopped = thread->group_stopped;
    image->xstate = malloc(PROCESS_MAX_XSTATE);
    if (!image->xstate)
        return -ENOMEM;
    int result = arch_get_xstate(thread->tid, image->xstate, PROCESS_MAX_XSTATE, &image->xstate_length);
    if (!result)
        result = dump_pending(thread->tid, 0, &image->pending, &image->pending_count);
    if (result)
        return result;
    struct {
        uint64_t pointer;
        uint32_t size, signature, flags, pad;
    } rseq = {0};
    if (ptrace(0x420f /* PTRACE_GET_RSEQ_CONFIGURATION */, thread->tid, sizeof rseq, &rseq) > 0) {
        core->rseq_pointer = rseq.pointer;
        core->rseq_size = rseq.size;
        core->rseq_signature = rseq.signature;
        core->rseq_flags = rseq.flags;
    }
    size_t length = 0;
    void *head = NULL;
    if (syscall(SYS_get_robust_list, thread->tid, &head, &length))
        return -errno;
    core->robust_list = (uint64_t)(uintptr_t)head;
    core->robust_length = length;
    if (sched_getaffinity(thread->tid, sizeof core->affinity, (cpu_set_t *)core->affinity))
        return -errno;
    core->scheduler = (uint32_t)sched_getscheduler(thread->tid);
    errno = 0;
    core->nice = getpriority(PRIO_PROCESS, (id_t)thread->tid);
    if (errno)
        return -errno;
    leave_critical_section(remote, core);
    if ((result = remote_use_thread(remote, thread->tid)))
        return result;
    uint64_t data = remote->data.addr;
    size_t altstack = REMOTE_QUEUE(remote, SYS_sigaltstack, 0, data);
    size_t address = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_TID_ADDRESS, data + 32);
    size_t name = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_NAME, data + 48);
    size_t death = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_PDEATHSIG, data + 40);
    size_t slack = REMOTE_QUEUE(remote, SYS_prctl, PR_GET_TIMERSLACK);
    struct {
        uint64_t stack_pointer;
        uint32_t stack_flags, pad;
        uint64_t stack_size, pad2, clear_tid;
        uint32_t death_signal, pad3;
        char name[16];
    } answers = {0};
    _Static_assert(sizeof answers == 64, "layout of the answers");
    if ((result = remote_write(remote, (struct rptr){data}, &answers, sizeof answers)) ||
        (result = remote_run(remote)) || (result = remote_read(remote, (struct rptr){data}, &answers, sizeof answers)))
        return result;
    if (remote_result(remote, altstack) || remote_result(remote, address) || remote_result(remote, name) ||
        remote_result(remote, death))
        return -EIO;
    core->altstack_pointer = answers.stack_pointer;
    core->altstack_flags = answers.stack_flags;
    core->altstack_size = answers.stack_size;
    core->clear_tid = answers.clear_tid;
    core->parent_death_signal = answers.death_signal;
    core->timer_slack = (uint64_t)remote_result(remote, slack);
    memcpy(core->name, answers.name, sizeof core->name);
    wait_dump(remote, thread, memo, offset_ns, core);
    (void)tracee;
    return 0;
}

uint32_t vdso_checksum(pid_t pid, const struct area_list *areas, uint32_t *bytes) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint32_t sum = 2166136261u;
    *bytes = 0;
    for (size_t i = 0; i < areas->count && fd >= 0; i++) {
        const struct area *area = &areas->areas[i];
        if (area->kind != AREA_VDSO)
            continue;
        *bytes += (uint32_t)(area->end - area->start);
        if (strcmp(area->path, "[vdso]"))
            continue;
        uint8_t page[4096];
        for (uint64_t at = area->start; at < area->end; at += sizeof page) {
            if (pread(fd, page, sizeof page, (off_t)at) != (ssize_t)sizeof page)
                break;
            for (size_t k = 0; k < sizeof page; k++)
                sum = (sum ^ page[k]) * 16777619u;
        }
    }
    if (fd >= 0)
        close(fd);
    return sum;
}

int process_dump(const struct tracee *tracee, struct remote *remote, const struct engine_capsule *capsule,
                 const struct wait_memo *memo, struct process_image *image, struct stay_reasons *reasons) {
    *image = (struct process_image){0};
    struct process_core *core = &image->core;
    core->magic = IMAGE_MAGIC;
    core->version = IMAGE_VERSION;
    size_t had = reasons->count;
    int result = maps_read(tracee->pid, remote->scratch.addr, capsule->file_device, &image->areas);
    if (result)
        return result;
    areas_probe(tracee->pid, &image->areas, reasons);
    if (reasons->count > had)
        return -EOPNOTSUPP;
    core->pid = tracee->threads[0].inner_tid;
    core->vdso_checksum = vdso_checksum(tracee->pid, &image->areas, &core->vdso_bytes);
    char path[64];
    if ((result = dump_stat(tracee->pid, core)) || (result = dump_credentials(tracee->pid, core)) ||
        (result = dump_process_wide(tracee->pid, remote, image)))
        return result;
    snprintf(path, sizeof path, "/proc/%d/exe", tracee->pid);
    image->executable = read_link(path);
    snprintf(path, sizeof path, "/proc/%d/cwd", tracee->pid);
    image->directory = read_link(path);
    static char auxv[4096];
    snprintf(path, sizeof path, "/proc/%d/auxv", tracee->pid);
    ssize_t auxv_length = read_file(path, auxv, sizeof auxv);
    if (!image->executable || !image->directory || auxv_length <= 0)
        return -EIO;
    image->auxv = malloc((size_t)auxv_length);
    if (!image->auxv)
        return -ENOMEM;
    memcpy(image->auxv, auxv, (size_t)auxv_length);
    image->auxv_length = (size_t)auxv_length;
    size_t end = strlen(image->directory);
    if (end > 10 && !strcmp(image->directory + end - 10, " (deleted)")) {
        stay_because(reasons, core->pid, "directory", "its working directory is deleted");
        return -EOPNOTSUPP;
    }
    if ((result = dump_pending(tracee->pid, PTRACE_PEEKSIGINFO_SHARED, &image->pending, &image->pending_count)) ||
        (result = fds_dump(tracee, remote, capsule, image, reasons)))
        return result;
    image->threads = calloc(tracee->thread_count, sizeof *image->threads);
    if (!image->threads)
        return -ENOMEM;
    uint64_t offset_ns = wait_clock_offset(remote);
    /* The leader last, so that the session ends in the thread it began in. */
    for (size_t i = tracee->thread_count; i-- > 0 && !result;)
        result = dump_thread(tracee, &tracee->threads[i], remote, memo, offset_ns, &image->threads[i]);
    image->thread_count = tracee->thread_count;
    return result;
}
