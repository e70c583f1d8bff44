/* SPDX-License-Identifier: Apache-2.0
 *
 * A session that runs system calls inside a stopped thread, and leaves it as it was.
 */
#ifndef SKEIN_REMOTE_H
#define SKEIN_REMOTE_H

#include "arch.h"

#define REMOTE_CODE_SIZE 4096u
#define REMOTE_TABLE_SIZE (ARCH_MAX_CALLS * sizeof(struct arch_call))
#define REMOTE_DATA_SIZE (256u << 10)
#define REMOTE_SCRATCH_SIZE (REMOTE_CODE_SIZE + REMOTE_TABLE_SIZE + REMOTE_DATA_SIZE)

struct remote {
    pid_t pid, tid;
    int mem_fd;       /* /proc/PID/mem */
    struct rptr insn; /* a system-call instruction in the process */
    struct rptr scratch, table, data;
    struct arch_regs regs; /* base registers for calls */
    struct arch_regs saved;
    uint64_t saved_mask;
    bool restore; /* put registers and mask back at the end */
    struct arch_call calls[ARCH_MAX_CALLS];
    size_t queued;
    int pending_stop; /* a SIGSTOP that came meanwhile: to be sent again */
};

/* Begin with the stopped thread `tid` of `pid`. `insn` is a system-call instruction; `at` is where to put the scratch
 * area (0: anywhere). 0 or -errno. */
int remote_begin(struct remote *remote, pid_t pid, pid_t tid, struct rptr insn, struct rptr at, bool restore);
/* Unmap the scratch area and restore the thread's registers and signal mask. The thread stays stopped. */
int remote_end(struct remote *remote);
/* Run in another stopped thread of the same process from now on (remote_end still cleans up in the last one used). */
int remote_use_thread(struct remote *remote, pid_t tid);

/* Find a system-call instruction in the process's vdso. */
int remote_find_insn(pid_t pid, struct rptr *insn);

/* Queue a call; its index. Then run all queued calls in one go: 0, or -errno when the thread could not run them. */
size_t remote_queue(struct remote *remote, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f);
int remote_run(struct remote *remote);
int64_t remote_result(const struct remote *remote, size_t index);
/* One call: its result (-errno included), or -EPROTO when the thread could not run it. */
int64_t remote_call(struct remote *remote, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f);

/* Copy to and from the process, whatever the protection of the pages. 0 or -errno; never partial. */
int remote_read(const struct remote *remote, struct rptr from, void *to, size_t length);
int remote_write(const struct remote *remote, struct rptr to, const void *from, size_t length);

#define REMOTE_CALL(remote, nr, ...) REMOTE_CALL_N(remote, nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define REMOTE_CALL_N(remote, nr, a, b, c, d, e, f, ...)                                                               \
    remote_call(remote, nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
#define REMOTE_QUEUE(remote, nr, ...) REMOTE_QUEUE_N(remote, nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define REMOTE_QUEUE_N(remote, nr, a, b, c, d, e, f, ...)                                                              \
    remote_queue(remote, nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))

#endif
