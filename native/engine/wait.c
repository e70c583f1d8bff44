/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A thread stopped in nanosleep, clock_nanosleep (relative), futex or poll with a time-out shows
 * -ERESTART_RESTARTBLOCK: the kernel keeps when the wait ends where nobody can read it. The wait began when the thread
 * last ran (tracee.c), so its end is that plus the time in its arguments. On the target the thread makes the same call
 * again, with the remaining time in a scratch area, and is interrupted in it: now the kernel there has its own restart
 * state, and the registers of the source, result included, are right as they are. A call that returns at once instead
 * (time is over, the futex changed, a descriptor is ready) has its result for the program.
 *
 * A wait that goes on after such a restart is in restart_syscall, which no longer tells what it was: what we put there
 * ourselves is remembered by thread, program counter and stack pointer (struct wait_memo). A wait that was interrupted
 * by something else (SIGSTOP and SIGCONT) and then moved ends early with EINTR, as a signal may end it at any time.
 */
#include "process.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

void wait_memo_free(struct wait_memo *memo) {
    free(memo->waits);
    *memo = (struct wait_memo){0};
}

int wait_memo_fill(struct wait_memo *memo, const struct process_image *image) {
    wait_memo_free(memo);
    memo->waits = calloc(image->thread_count ? image->thread_count : 1, sizeof *memo->waits);
    if (!memo->waits)
        return -ENOMEM;
    for (size_t i = 0; i < image->thread_count; i++) {
        const struct thread_core *core = &image->threads[i].core;
        if (!core->wait_number)
            continue;
        memo->waits[memo->count].inner_tid = core->tid;
        memo->waits[memo->count].number = core->wait_number;
        memo->waits[memo->count].deadline_ns = core->wait_deadline_ns;
        memo->waits[memo->count].realtime = core->wait_clock_is_realtime;
        memo->waits[memo->count].pc = core->wait_started_pc;
        memo->waits[memo->count].sp = core->wait_started_sp;
        memo->count++;
    }
    return 0;
}

uint64_t wait_clock_offset(struct remote *remote) {
    struct timespec now;
    uint64_t before = monotonic_ns();
    if (REMOTE_CALL(remote, SYS_clock_gettime, CLOCK_MONOTONIC, remote->data.addr) ||
        remote_read(remote, remote->data, &now, sizeof now))
        return 0;
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec - before;
}

int wait_memo_note(struct wait_memo *memo, struct remote *remote, const struct tracee *tracee) {
    uint64_t offset_ns = wait_clock_offset(remote);
    for (size_t i = 0; i < tracee->thread_count; i++) {
        struct thread_core core = {.tid = tracee->threads[i].inner_tid, .regs = tracee->threads[i].regs};
        wait_dump(remote, &tracee->threads[i], memo, offset_ns, &core);
        if (!core.wait_number)
            continue;
        size_t at = 0;
        while (at < memo->count && memo->waits[at].inner_tid != core.tid)
            at++;
        if (at == memo->count) {
            void *grown = realloc(memo->waits, (memo->count + 1) * sizeof *memo->waits);
            if (!grown)
                return -ENOMEM;
            memo->waits = grown;
            memo->count++;
        }
        memo->waits[at].inner_tid = core.tid;
        memo->waits[at].number = core.wait_number;
        memo->waits[at].deadline_ns = core.wait_deadline_ns;
        memo->waits[at].realtime = 0;
        memo->waits[at].pc = core.wait_started_pc;
        memo->waits[at].sp = core.wait_started_sp;
    }
    return 0;
}

/* The requested time in ns by the arguments, or -1. */
static int64_t requested_ns(const struct remote *remote, const struct arch_regs *regs, int64_t number) {
    struct timespec time;
    int pointer;
    switch (arch_wait_kind(number)) {
    case ARCH_WAIT_NANOSLEEP:
        pointer = 0;
        break;
    case ARCH_WAIT_CLOCK_NANOSLEEP:
        pointer = 2;
        break;
    case ARCH_WAIT_FUTEX:
        if ((arch_syscall_arg(regs, 1) & FUTEX_CMD_MASK) != FUTEX_WAIT)
            return -1; /* FUTEX_WAIT_BITSET has an absolute time: nothing to work out, see below */
        pointer = 3;
        break;
    case ARCH_WAIT_POLL:
        return (int64_t)(int32_t)arch_syscall_arg(regs, 2) * 1000000;
    default:
        return -1;
    }
    if (remote_read(remote, (struct rptr){arch_syscall_arg(regs, pointer)}, &time, sizeof time))
        return -1;
    if (time.tv_sec < 0 || time.tv_sec > 4000000000 || time.tv_nsec < 0 || time.tv_nsec >= 1000000000)
        return -1;
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

void wait_dump(const struct remote *remote, const struct tracee_thread *thread, const struct wait_memo *memo,
               uint64_t monotonic_offset_ns, struct thread_core *core) {
    int64_t number = arch_syscall_number(&core->regs), result = arch_syscall_result(&core->regs);
    if (number < 0)
        return;
    if (result == -EINTR && arch_is_repeatable(number) && !thread->pending_signal) {
        arch_repeat_syscall(&core->regs, number);
        return;
    }
    if (result != -SKEIN_ERESTART_RESTARTBLOCK)
        return;
    uint64_t pc = arch_program_counter(&core->regs), sp = arch_stack_pointer(&core->regs);
    if (arch_wait_kind(number) == ARCH_WAIT_RESTART) {
        for (size_t i = 0; i < memo->count; i++)
            if (memo->waits[i].inner_tid == core->tid && memo->waits[i].pc == pc && memo->waits[i].sp == sp) {
                core->wait_number = memo->waits[i].number;
                core->wait_deadline_ns = memo->waits[i].deadline_ns;
            }
    } else if (arch_wait_kind(number) == ARCH_WAIT_FUTEX &&
               (arch_syscall_arg(&core->regs, 1) & FUTEX_CMD_MASK) != FUTEX_WAIT) {
        arch_repeat_syscall(&core->regs, number); /* absolute time on the task's own clock: simply again */
        return;
    } else {
        int64_t requested = requested_ns(remote, &core->regs, number);
        if (requested >= 0) {
            core->wait_number = number;
            core->wait_deadline_ns = thread->slept_from_ns + monotonic_offset_ns + (uint64_t)requested;
        }
    }
    if (core->wait_number) {
        core->wait_started_pc = pc;
        core->wait_started_sp = sp;
    } else {
        arch_set_result(&core->regs, -EINTR);
        arch_leave_syscall(&core->regs);
    }
}

int wait_restore(struct remote *remote, uint64_t task_now_ns, struct thread_core *core) {
    if (!core->wait_number)
        return 0;
    uint64_t left = core->wait_deadline_ns > task_now_ns ? core->wait_deadline_ns - task_now_ns : 0;
    struct timespec rest = {(time_t)(left / 1000000000ull), (long)(left % 1000000000ull)};
    int result = remote_write(remote, remote->data, &rest, sizeof rest);
    if (result)
        return result;
    struct arch_call call = {.nr = (uint64_t)core->wait_number};
    for (int i = 0; i < 6; i++)
        call.args[i] = arch_syscall_arg(&core->regs, i);
    switch (arch_wait_kind(core->wait_number)) {
    case ARCH_WAIT_NANOSLEEP:
        call.args[0] = remote->data.addr;
        break;
    case ARCH_WAIT_CLOCK_NANOSLEEP:
        call.args[2] = remote->data.addr;
        break;
    case ARCH_WAIT_FUTEX:
        call.args[3] = remote->data.addr;
        break;
    case ARCH_WAIT_POLL:
        call.args[2] = (left + 999999) / 1000000;
        break;
    default:
        return -EINVAL;
    }
    struct arch_regs regs = remote->regs;
    arch_syscall_regs(&regs, remote->insn, &call);
    if ((result = arch_set_regs(remote->tid, &regs)))
        return result;
    /* In the call, or past it by one instruction, the thread meets the interrupt. The system-call stop at its entry
     * makes sure that it got that far; the interrupt is set before it goes on, so that the wait is never long. */
    int status;
    if (ptrace(PTRACE_SYSCALL, remote->tid, 0, 0))
        return -errno;
    if ((result = tracee_wait_stop(remote->tid, &status, 10000)))
        return result;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80))
        return -EPROTO;
    if (ptrace(PTRACE_INTERRUPT, remote->tid, 0, 0) || ptrace(PTRACE_SYSCALL, remote->tid, 0, 0))
        return -errno;
    if ((result = tracee_wait_stop(remote->tid, &status, 10000)))
        return result;
    if ((result = arch_get_regs(remote->tid, &regs)))
        return result;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
        /* The exit of the call, and any stop takes a pending interrupt with it. From here the thread would go to its
         * program with the kernel's restart code as a result; out of the signal path it does not: interrupt again. */
        if (ptrace(PTRACE_INTERRUPT, remote->tid, 0, 0) || ptrace(PTRACE_CONT, remote->tid, 0, 0))
            return -errno;
        if ((result = tracee_wait_stop(remote->tid, &status, 10000)))
            return result;
    }
    int64_t value = arch_syscall_result(&regs);
    if (value != -SKEIN_ERESTART_RESTARTBLOCK) {
        arch_set_result(&core->regs, value);
        arch_leave_syscall(&core->regs);
        core->wait_number = 0;
    }
    return 0;
}
