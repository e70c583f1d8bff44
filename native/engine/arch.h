/* SPDX-License-Identifier: Apache-2.0
 *
 * All knowledge of registers, system-call entry and the ABI of one processor. A port adds a file beside
 * arch_x86_64.c and nothing else.
 */
#ifndef SKEIN_ARCH_H
#define SKEIN_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* An address in another process: never to be dereferenced here. */
struct rptr {
    uint64_t addr;
};

struct arch_regs {
    struct user_regs_struct gpr;
};

/* One entry of the table that the stub walks. Layout known to the stub's code. */
struct arch_call {
    uint64_t nr;
    uint64_t args[6];
    int64_t ret;
};
#define ARCH_MAX_CALLS 1024

/* Position-independent code: walks `count` calls of the table, then traps. */
extern const uint8_t arch_stub[];
extern const size_t arch_stub_length;

int arch_get_regs(pid_t tid, struct arch_regs *regs);
int arch_set_regs(pid_t tid, const struct arch_regs *regs);
/* Floating point and vector state, as the kernel gives it. -ENOSPC when larger than `capacity`. */
int arch_get_xstate(pid_t tid, void *buffer, size_t capacity, size_t *length);
int arch_set_xstate(pid_t tid, const void *buffer, size_t length);

/* Set up registers so that the thread runs the stub at `code` over `count` calls at `table`. */
void arch_stub_regs(struct arch_regs *regs, struct rptr code, struct rptr table, size_t count);
/* Set up registers so that the thread runs one system call at an existing system-call instruction. */
void arch_syscall_regs(struct arch_regs *regs, struct rptr insn, const struct arch_call *call);
int64_t arch_syscall_result(const struct arch_regs *regs);
/* The offset of a system-call instruction in code, or -1. */
long arch_find_syscall(const uint8_t *code, size_t length);

/* Where a thread stopped: the system call it was in, or -1. */
int64_t arch_syscall_number(const struct arch_regs *regs);
/* That call's result so far: one of -ERESTART…, or what it returns. */
void arch_set_result(struct arch_regs *regs, int64_t result);
uint64_t arch_syscall_arg(const struct arch_regs *regs, int index);
/* Forget that the thread is in a system call: it goes on after it with the result it has. */
void arch_leave_syscall(struct arch_regs *regs);
/* Go back so that the call is made again. */
void arch_repeat_syscall(struct arch_regs *regs, int64_t nr);
uint64_t arch_program_counter(const struct arch_regs *regs);
void arch_set_program_counter(struct arch_regs *regs, uint64_t address);
uint64_t arch_stack_pointer(const struct arch_regs *regs);

/* Kernel-internal results that a stopped thread shows (linux/errno.h). */
#define SKEIN_ERESTARTSYS 512
#define SKEIN_ERESTARTNOINTR 513
#define SKEIN_ERESTARTNOHAND 514
#define SKEIN_ERESTART_RESTARTBLOCK 516

/* Numbers of calls that go on for the rest of their time. */
enum arch_wait {
    ARCH_WAIT_NONE,
    ARCH_WAIT_NANOSLEEP,
    ARCH_WAIT_CLOCK_NANOSLEEP,
    ARCH_WAIT_FUTEX,
    ARCH_WAIT_POLL,
    ARCH_WAIT_RESTART
};
enum arch_wait arch_wait_kind(int64_t nr);
/* True for calls that return EINTR when only looked at by a tracer, and may simply be made again. */
bool arch_is_repeatable(int64_t nr);
/* Highest user address + 1. */
uint64_t arch_user_end(void);

#endif
