/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: x86-64. A system call is `syscall` (0f 05) with its number in rax and arguments in rdi, rsi,
 * rdx, r10, r8, r9; rcx and r11 are lost. A thread that a tracer stops inside a call shows orig_rax >= 0 and, if the
 * call is to be restarted, rax = -ERESTART*. When such registers are set in a stopped thread of another process, the
 * kernel treats them as its own on the way out: rip goes back two bytes, or a handler runs first (seen on 6.18).
 * -ERESTART_RESTARTBLOCK needs kernel state that registers don't carry: see wait.c.
 */
#include "arch.h"
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* rbx: table, r12: count.
 *   loop: mov rax,[rbx]; mov rdi,[rbx+8]; mov rsi,[rbx+16]; mov rdx,[rbx+24]; mov r10,[rbx+32]; mov r8,[rbx+40];
 *         mov r9,[rbx+48]; syscall; mov [rbx+56],rax; add rbx,64; dec r12; jnz loop; int3 */
const uint8_t arch_stub[] = {
    0x48, 0x8b, 0x03, 0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x73, 0x10, 0x48, 0x8b, 0x53, 0x18,
    0x4c, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x43, 0x28, 0x4c, 0x8b, 0x4b, 0x30, 0x0f, 0x05, 0x48,
    0x89, 0x43, 0x38, 0x48, 0x83, 0xc3, 0x40, 0x49, 0xff, 0xcc, 0x75, 0xd6, 0xcc,
};
const size_t arch_stub_length = sizeof arch_stub;
_Static_assert(sizeof(struct arch_call) == 64, "the stub steps by 64 bytes");

int arch_get_regs(pid_t tid, struct arch_regs *regs) {
    struct iovec iov = {&regs->gpr, sizeof regs->gpr};
    return ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) ? -errno : 0;
}

int arch_set_regs(pid_t tid, const struct arch_regs *regs) {
    struct arch_regs copy = *regs;
    struct iovec iov = {&copy.gpr, sizeof copy.gpr};
    return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) ? -errno : 0;
}

int arch_get_xstate(pid_t tid, void *buffer, size_t capacity, size_t *length) {
    struct iovec iov = {buffer, capacity};
    if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov))
        return -errno;
    if (iov.iov_len == capacity)
        return -ENOSPC; /* cut off, perhaps */
    *length = iov.iov_len;
    return 0;
}

int arch_set_xstate(pid_t tid, const void *buffer, size_t length) {
    struct iovec iov = {(void *)buffer, length};
    return ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov) ? -errno : 0;
}

void arch_stub_regs(struct arch_regs *regs, struct rptr code, struct rptr table, size_t count) {
    regs->gpr.rip = code.addr;
    regs->gpr.rbx = table.addr;
    regs->gpr.r12 = count;
    regs->gpr.orig_rax = (unsigned long long)-1; /* no restart of the call it was stopped in */
    regs->gpr.rax = 0;
    regs->gpr.eflags &= ~0x100ull & ~0x400ull; /* no single step, direction up */
}

void arch_syscall_regs(struct arch_regs *regs, struct rptr insn, const struct arch_call *call) {
    regs->gpr.rip = insn.addr;
    regs->gpr.rax = call->nr;
    regs->gpr.rdi = call->args[0];
    regs->gpr.rsi = call->args[1];
    regs->gpr.rdx = call->args[2];
    regs->gpr.r10 = call->args[3];
    regs->gpr.r8 = call->args[4];
    regs->gpr.r9 = call->args[5];
    regs->gpr.orig_rax = (unsigned long long)-1;
    regs->gpr.eflags &= ~0x100ull;
}

int64_t arch_syscall_result(const struct arch_regs *regs) {
    return (int64_t)regs->gpr.rax;
}

long arch_find_syscall(const uint8_t *code, size_t length) {
    for (size_t i = 0; i + 1 < length; i++)
        if (code[i] == 0x0f && code[i + 1] == 0x05)
            return (long)i;
    return -1;
}

int64_t arch_syscall_number(const struct arch_regs *regs) {
    return (int64_t)regs->gpr.orig_rax;
}

void arch_set_result(struct arch_regs *regs, int64_t result) {
    regs->gpr.rax = (unsigned long long)result;
}

uint64_t arch_syscall_arg(const struct arch_regs *regs, int index) {
    switch (index) {
    case 0:
        return regs->gpr.rdi;
    case 1:
        return regs->gpr.rsi;
    case 2:
        return regs->gpr.rdx;
    case 3:
        return regs->gpr.r10;
    case 4:
        return regs->gpr.r8;
    default:
        return regs->gpr.r9;
    }
}

void arch_leave_syscall(struct arch_regs *regs) {
    regs->gpr.orig_rax = (unsigned long long)-1;
}

void arch_repeat_syscall(struct arch_regs *regs, int64_t nr) {
    regs->gpr.rip -= 2;
    regs->gpr.rax = (unsigned long long)nr;
    regs->gpr.orig_rax = (unsigned long long)-1;
}

uint64_t arch_program_counter(const struct arch_regs *regs) {
    return regs->gpr.rip;
}

void arch_set_program_counter(struct arch_regs *regs, uint64_t address) {
    regs->gpr.rip = address;
}

uint64_t arch_stack_pointer(const struct arch_regs *regs) {
    return regs->gpr.rsp;
}

enum arch_wait arch_wait_kind(int64_t nr) {
    switch (nr) {
    case SYS_nanosleep:
        return ARCH_WAIT_NANOSLEEP;
    case SYS_clock_nanosleep:
        return ARCH_WAIT_CLOCK_NANOSLEEP;
    case SYS_futex:
        return ARCH_WAIT_FUTEX;
    case SYS_poll:
        return ARCH_WAIT_POLL;
    case SYS_restart_syscall:
        return ARCH_WAIT_RESTART;
    default:
        return ARCH_WAIT_NONE;
    }
}

bool arch_is_repeatable(int64_t nr) {
    return nr == SYS_epoll_wait || nr == SYS_epoll_pwait || nr == 441 /* epoll_pwait2 */ || nr == SYS_semtimedop ||
           nr == SYS_rt_sigtimedwait || nr == SYS_io_getevents;
}

uint64_t arch_user_end(void) {
    return 0x7ffffffff000ull;
}
