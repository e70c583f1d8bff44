/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one process, apart from its pages: what is taken from a frozen one and what a new one is made of.
 */
#ifndef SKEIN_PROCESS_H
#define SKEIN_PROCESS_H

#include "image.h"
#include "maps.h"
#include "pages.h"
#include "remote.h"
#include "tracee.h"

#define IMAGE_MAGIC 0x314d4953u /* "SIM1" */
#define IMAGE_VERSION 1u
#define PROCESS_SIGNALS 64
#define PROCESS_MAX_XSTATE (16u << 10)
#define PROCESS_MAX_PENDING 4096
#define PROCESS_MAX_TIMERS 256
#define PROCESS_MAX_FDS 65536
#define PROCESS_RLIMITS 16

/* What the engine must know of the capsule that a process lives in. */
struct engine_capsule {
    pid_t init_pid;          /* the capsule's init, as seen here */
    uint64_t file_device;    /* device of home's files, as in maps_read */
    int root_mount;          /* mnt_id of home's files */
    uint64_t stdio_inode[3]; /* the task's standard pipes; 0 where there is none */
    bool has_terminal;       /* standard streams are /dev/pts/0 */
    /* The (node, handle) that a descriptor of the frozen process has at home: arm, let it call fsync, take. */
    void *files;
    int (*probe)(void *files, bool on);
    int (*probe_take)(void *files, uint64_t *nodeid, uint64_t *handle);
    int (*adopt)(void *files, uint64_t nodeid, uint64_t handle);
};

struct kernel_sigaction {
    uint64_t handler, flags, restorer, mask;
};

struct process_core {
    uint32_t magic, version;
    int32_t pid, pgid, foreground; /* foreground: its group is the terminal's */
    uint32_t umask, dumpable, no_new_privs, personality, keep_capabilities, subreaper, thp_disable;
    int32_t oom_score_adj, reserved;
    uint64_t task_monotonic_ns, task_boottime_ns; /* the task's clocks when it was frozen */
    uint64_t mm[11];                              /* start_code … env_end in the order of struct prctl_mm_map */
    struct kernel_sigaction actions[PROCESS_SIGNALS];
    struct {
        uint64_t interval_s, interval_us, value_s, value_us;
    } itimers[3];
    uint64_t rlimits[PROCESS_RLIMITS][2];
    uint32_t vdso_checksum, vdso_bytes;
    uint64_t effective_capabilities, permitted_capabilities, inheritable_capabilities, ambient_capabilities;
};

struct thread_core {
    int32_t tid;
    uint32_t pending_signal;
    struct arch_regs regs;
    uint64_t signal_mask;
    uint64_t altstack_pointer, altstack_size;
    uint32_t altstack_flags, scheduler;
    uint64_t rseq_pointer;
    uint32_t rseq_size, rseq_signature, rseq_flags;
    int32_t nice;
    uint64_t robust_list, robust_length, clear_tid;
    char name[16];
    uint64_t affinity[16];
    uint64_t timer_slack;
    uint32_t parent_death_signal, group_stopped;
    /* A timed wait that goes on: its call and when it ends, on the task's CLOCK_MONOTONIC; 0: none. */
    int64_t wait_number;
    uint64_t wait_deadline_ns;
    uint64_t wait_clock_is_realtime;
    uint64_t wait_started_pc, wait_started_sp; /* how the same wait is known again at the next move */
    siginfo_t pending_info;
};

struct thread_image {
    struct thread_core core;
    uint8_t *xstate;
    size_t xstate_length;
    siginfo_t *pending; /* sent to this thread */
    size_t pending_count;
};

struct timer_image {
    int32_t id, signal, notify, clock, target_tid, overrun;
    uint64_t value_pointer;
    uint64_t interval_s, interval_ns, value_s, value_ns;
};

enum fd_kind { FD_KIND_STDIO = 1, FD_KIND_TERMINAL, FD_KIND_FILE, FD_KIND_DEVICE, FD_KIND_PIPE, FD_KIND_PATH };

struct fd_image {
    int32_t fd, same_as; /* same_as: an earlier descriptor of the same open file, or -1 */
    uint32_t kind, flags, close_on_exec;
    uint32_t index; /* FD_KIND_STDIO: 0, 1, 2 */
    uint64_t position, inode, nodeid, handle;
    int32_t owner, owner_type, signal, reserved;
    char *path;
    uint8_t *bytes; /* FD_KIND_PIPE: contents, at the first end listed */
    size_t bytes_length;
    uint64_t pipe_size;
};

struct process_image {
    struct process_core core;
    char *executable, *directory;
    uint8_t *auxv;
    size_t auxv_length;
    siginfo_t *pending; /* sent to the process */
    size_t pending_count;
    struct thread_image *threads;
    size_t thread_count;
    struct timer_image *timers;
    size_t timer_count;
    struct fd_image *fds;
    size_t fd_count;
    struct area_list areas;
};

/* Why a process stays. */
struct stay_reasons {
    struct {
        int pid;
        char kind[24], detail[200];
    } reasons[16];
    size_t count;
};
void stay_because(struct stay_reasons *reasons, int pid, const char *kind, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Look, without stopping it, for what can't move. */
int process_probe(pid_t pid, const struct engine_capsule *capsule, struct stay_reasons *reasons);

/* Timed waits that earlier moves carried: see wait.c. */
struct wait_memo {
    struct {
        pid_t inner_tid;
        int64_t number;
        uint64_t deadline_ns, pc, sp, realtime;
    } * waits;
    size_t count;
};
void wait_memo_free(struct wait_memo *memo);
int wait_memo_fill(struct wait_memo *memo, const struct process_image *image);
/* Note the timed waits that the stopped threads are in, before they go on and are stopped again. */
int wait_memo_note(struct wait_memo *memo, struct remote *remote, const struct tracee *tracee);
/* The task's CLOCK_MONOTONIC less ours, in ns (wraps around below zero). */
uint64_t wait_clock_offset(struct remote *remote);

/* Take the state of a frozen process through `remote`. -EOPNOTSUPP with reasons when it must stay. */
int process_dump(const struct tracee *tracee, struct remote *remote, const struct engine_capsule *capsule,
                 const struct wait_memo *memo, struct process_image *image, struct stay_reasons *reasons);
int fds_dump(const struct tracee *tracee, struct remote *remote, const struct engine_capsule *capsule,
             struct process_image *image, struct stay_reasons *reasons);
int fds_probe(pid_t pid, const struct engine_capsule *capsule, struct stay_reasons *reasons);
int fds_restore(struct remote *remote, const struct engine_capsule *capsule, const struct process_image *image);
/* What of the wait a thread was stopped in has to be carried. */
void wait_dump(const struct remote *remote, const struct tracee_thread *thread, const struct wait_memo *memo,
               uint64_t monotonic_offset_ns, struct thread_core *core);
/* Let the thread (stopped, selected in `remote`) enter its wait again for the rest of the time. `core->regs` become
 * what it has to go on with. */
int wait_restore(struct remote *remote, uint64_t task_now_ns, struct thread_core *core);

void process_pack(struct image_writer *writer, const struct process_image *image);
/* Everything is checked: counts, kinds, ranges. -EBADMSG. */
int process_unpack(struct image_reader *reader, struct process_image *image);
void process_free(struct process_image *image);

/* The new process, being made. */
struct restore {
    pid_t pid; /* as seen here; ptraced by us and stopped */
    struct remote *remote;
    struct area_list areas; /* what it has mapped */
    struct area_list vdso;  /* where its own [v…] areas are now */
    bool begun;
};
/* Take over a fresh process that runs the restorer and clear its memory. `wanted`: the first list of areas. */
int restore_begin(struct restore *restore, pid_t pid, const struct area_list *wanted);
/* Make its mappings those of `wanted` (taken over). Contents of what stays are kept. */
int restore_areas(struct restore *restore, struct area_list *wanted);
/* Drop pages. */
int restore_discard(struct restore *restore, const struct page_runs *runs);
/* All the rest, up to the point where only tracee_thaw is missing. *tracee holds its stopped threads. `time_fd` path
 * of the time namespace to join, NULL: none. */
int restore_finish(struct restore *restore, const struct engine_capsule *capsule, struct process_image *image,
                   struct tracee *tracee, const char **stage);
void restore_abandon(struct restore *restore);
uint32_t vdso_checksum(pid_t pid, const struct area_list *areas, uint32_t *bytes);

#endif
