/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The first call (mmap of a scratch area) is made by single-stepping over a system-call
 * instruction that the process already has (the vdso's). From then on the stub in the scratch area walks a table of
 * calls and ends in a trap: two context switches for any number of calls. All signals but SIGTRAP are blocked
 * meanwhile: a blocked SIGTRAP that the kernel forces would reset the program's handler. SIGSTOP can't be blocked:
 * its stop is passed over and sent again at the end. The thread's restart state in the kernel survives, as long as
 * none of the calls made here sleeps.
 */
#include "remote.h"
#include "tracee.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 60000 /* a call may open a file at home */
#define PTRACE_SETSIGMASK_ 0x420b
#define PTRACE_GETSIGMASK_ 0x420a

static int wait_trap(struct remote *remote) {
    for (;;) {
        int status, result = tracee_wait_stop(remote->tid, &status, CALL_TIMEOUT_MS);
        if (result)
            return result;
        int signal = WSTOPSIG(status);
        if (signal == SIGTRAP && status >> 16 == 0)
            return 0;
        if (status >> 16 == 0 && signal != SIGSTOP)
            return -EFAULT; /* the thread crashed in a call: never seen, never wanted */
        if (status >> 16 == 0)
            remote->pending_stop = signal;
        if (ptrace(PTRACE_CONT, remote->tid, 0, 0))
            return -errno;
    }
}

static int single_call(struct remote *remote, const struct arch_call *call, int64_t *value) {
    struct arch_regs regs = remote->regs;
    arch_syscall_regs(&regs, remote->insn, call);
    int result = arch_set_regs(remote->tid, &regs);
    if (result)
        return result;
    if (ptrace(PTRACE_SINGLESTEP, remote->tid, 0, 0))
        return -errno;
    if ((result = wait_trap(remote)) || (result = arch_get_regs(remote->tid, &regs)))
        return result;
    *value = arch_syscall_result(&regs);
    return 0;
}

static int block_signals(struct remote *remote) {
    uint64_t mask = ~(1ull << (SIGTRAP - 1));
    return ptrace(PTRACE_SETSIGMASK_, remote->tid, (void *)8, &mask) ? -errno : 0;
}

static int take_thread(struct remote *remote, pid_t tid) {
    remote->tid = tid;
    int result = arch_get_regs(tid, &remote->saved);
    if (result)
        return result;
    if (ptrace(PTRACE_GETSIGMASK_, tid, (void *)8, &remote->saved_mask))
        return -errno;
    remote->regs = remote->saved;
    return block_signals(remote);
}

static int give_thread_back(struct remote *remote) {
    if (!remote->restore)
        return 0;
    int result = arch_set_regs(remote->tid, &remote->saved);
    if (ptrace(PTRACE_SETSIGMASK_, remote->tid, (void *)8, &remote->saved_mask) && !result)
        result = -errno;
    if (remote->pending_stop)
        syscall(SYS_tgkill, remote->pid, remote->tid, remote->pending_stop);
    remote->pending_stop = 0;
    return result;
}

int remote_begin(struct remote *remote, pid_t pid, pid_t tid, struct rptr insn, struct rptr at, bool restore) {
    memset(remote, 0, sizeof *remote);
    remote->pid = pid;
    remote->insn = insn;
    remote->restore = restore;
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    remote->mem_fd = open(path, O_RDWR | O_CLOEXEC);
    if (remote->mem_fd < 0)
        return -errno;
    int result = take_thread(remote, tid);
    int64_t address = 0;
    if (!result) {
        struct arch_call map = {SYS_mmap,
                                {at.addr, REMOTE_SCRATCH_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                                 MAP_PRIVATE | MAP_ANONYMOUS | (at.addr ? MAP_FIXED_NOREPLACE : 0), (uint64_t)-1, 0},
                                0};
        result = single_call(remote, &map, &address);
        if (!result && address < 0)
            result = (int)address;
    }
    if (!result) {
        remote->scratch.addr = (uint64_t)address;
        remote->table.addr = remote->scratch.addr + REMOTE_CODE_SIZE;
        remote->data.addr = remote->table.addr + REMOTE_TABLE_SIZE;
        result = remote_write(remote, remote->scratch, arch_stub, arch_stub_length);
    }
    if (result) {
        give_thread_back(remote);
        close(remote->mem_fd);
        remote->mem_fd = -1;
    }
    return result;
}

int remote_end(struct remote *remote) {
    if (remote->mem_fd < 0)
        return 0;
    int64_t value = 0;
    struct arch_call unmap = {SYS_munmap, {remote->scratch.addr, REMOTE_SCRATCH_SIZE, 0, 0, 0, 0}, 0};
    int result = single_call(remote, &unmap, &value);
    int restored = give_thread_back(remote);
    close(remote->mem_fd);
    remote->mem_fd = -1;
    return result ? result : restored ? restored : (int)value;
}

int remote_use_thread(struct remote *remote, pid_t tid) {
    if (tid == remote->tid)
        return 0;
    int result = give_thread_back(remote);
    return result ? result : take_thread(remote, tid);
}

size_t remote_queue(struct remote *remote, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f) {
    if (remote->queued >= ARCH_MAX_CALLS)
        return ARCH_MAX_CALLS; /* remote_run reports it */
    remote->calls[remote->queued] = (struct arch_call){(uint64_t)nr, {a, b, c, d, e, f}, -EPROTO};
    return remote->queued++;
}

int remote_run(struct remote *remote) {
    size_t count = remote->queued, bytes = count * sizeof(struct arch_call);
    remote->queued = 0;
    if (count == 0)
        return 0;
    int result = remote_write(remote, remote->table, remote->calls, bytes);
    if (result)
        return result;
    struct arch_regs regs = remote->regs;
    arch_stub_regs(&regs, remote->scratch, remote->table, count);
    if ((result = arch_set_regs(remote->tid, &regs)))
        return result;
    if (ptrace(PTRACE_CONT, remote->tid, 0, 0))
        return -errno;
    if ((result = wait_trap(remote)))
        return result;
    return remote_read(remote, remote->table, remote->calls, bytes);
}

int64_t remote_result(const struct remote *remote, size_t index) {
    return index < ARCH_MAX_CALLS ? remote->calls[index].ret : -E2BIG;
}

int64_t remote_call(struct remote *remote, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f) {
    remote->queued = 0;
    size_t index = remote_queue(remote, nr, a, b, c, d, e, f);
    return remote_run(remote) ? -EPROTO : remote_result(remote, index);
}

int remote_read(const struct remote *remote, struct rptr from, void *to, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(remote->mem_fd, (char *)to + done, length - done, (off_t)(from.addr + done));
        if (got <= 0)
            return got < 0 && errno != EIO ? -errno : -EFAULT;
        done += (size_t)got;
    }
    return 0;
}

int remote_write(const struct remote *remote, struct rptr to, const void *from, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t put = pwrite(remote->mem_fd, (const char *)from + done, length - done, (off_t)(to.addr + done));
        if (put <= 0)
            return put < 0 && errno != EIO ? -errno : -EFAULT;
        done += (size_t)put;
    }
    return 0;
}
