/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. The new process was made by the capsule's init with the right pid and runs a tiny program (the
 * restorer) with all capabilities of the capsule. We stop it, give it a scratch area, unmap everything else and build
 * the task's memory in it, area by area, by calls that it makes itself. While pre-copy runs, the list of areas changes:
 * restore_areas compares and keeps what is backed by the same thing.
 *
 * The order at the end matters: descriptors while capabilities are there; the time namespace while there is one thread;
 * then threads; each thread registers what the kernel keeps for it, queues its signals (all blocked), enters its timed
 * wait again, and drops its capabilities. The scratch area goes last; then registers and masks are set.
 */
#include "kernel_abi.h"
#include "process.h"
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SETSIGMASK 0x420b

static uint64_t find_gap(const struct area_list *a, const struct area_list *b, uint64_t size) {
    uint64_t at = 0x10000;
    size_t i = 0, k = 0;
    while (at + size < arch_user_end()) {
        while (i < a->count && a->areas[i].end <= at)
            i++;
        while (k < b->count && b->areas[k].end <= at)
            k++;
        uint64_t next_a = i < a->count ? a->areas[i].start : UINT64_MAX;
        uint64_t next_b = k < b->count ? b->areas[k].start : UINT64_MAX;
        if (at + size + (1 << 20) <= (next_a < next_b ? next_a : next_b))
            return at;
        at = next_a < next_b ? a->areas[i].end : b->areas[k].end;
    }
    return 0;
}

static int move_vdso(struct restore *restore, const struct area_list *now, const struct area_list *wanted) {
    struct remote *remote = restore->remote;
    uint64_t size = 0;
    for (size_t i = 0; i < now->count; i++)
        if (now->areas[i].kind == AREA_VDSO)
            size += now->areas[i].end - now->areas[i].start;
    struct area scratch = {.start = remote->scratch.addr, .end = remote->scratch.addr + REMOTE_SCRATCH_SIZE};
    struct area_list own = {&scratch, 1};
    uint64_t gap = find_gap(now, wanted, size);
    if (gap < scratch.end && gap + size > scratch.start) {
        struct area_list none = {0};
        (void)none;
        gap = scratch.end + (1 << 20);
        struct area_list merged = *wanted;
        for (size_t i = 0; i < merged.count; i++)
            if (merged.areas[i].start < gap + size && merged.areas[i].end > gap)
                gap = merged.areas[i].end;
    }
    (void)own;
    uint64_t at = gap;
    for (size_t i = 0; i < now->count; i++) {
        const struct area *area = &now->areas[i];
        if (area->kind != AREA_VDSO)
            continue;
        uint64_t length = area->end - area->start;
        const struct area *to = NULL;
        for (size_t k = 0; k < wanted->count && !to; k++)
            if (wanted->areas[k].kind == AREA_VDSO && !strcmp(wanted->areas[k].path, area->path) &&
                wanted->areas[k].end - wanted->areas[k].start == length)
                to = &wanted->areas[k];
        if (!to)
            return -ENOEXEC; /* another layout: another kernel */
        int64_t moved = REMOTE_CALL(remote, SYS_mremap, area->start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at);
        if (moved != (int64_t)at)
            return moved < 0 ? (int)moved : -EIO;
        if (!strcmp(area->path, "[vdso]"))
            remote->insn.addr = remote->insn.addr - area->start + to->start;
        at += length;
    }
    at = gap;
    for (size_t i = 0; i < now->count; i++) {
        const struct area *area = &now->areas[i];
        if (area->kind != AREA_VDSO)
            continue;
        uint64_t length = area->end - area->start;
        for (size_t k = 0; k < wanted->count; k++) {
            const struct area *to = &wanted->areas[k];
            if (to->kind != AREA_VDSO || strcmp(to->path, area->path))
                continue;
            int64_t moved =
                REMOTE_CALL(remote, SYS_mremap, at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to->start);
            if (moved != (int64_t)to->start)
                return moved < 0 ? (int)moved : -EIO;
            break;
        }
        at += length;
    }
    return 0;
}

static int find_insn(pid_t pid, const struct area_list *areas, struct rptr *insn) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = -ENOENT;
    for (size_t i = 0; i < areas->count && result; i++) {
        const struct area *area = &areas->areas[i];
        if (strcmp(area->path, "[vdso]"))
            continue;
        uint8_t code[16384];
        size_t length = area->end - area->start < sizeof code ? area->end - area->start : sizeof code;
        if (pread(fd, code, length, (off_t)area->start) != (ssize_t)length)
            break;
        long at = arch_find_syscall(code, length);
        if (at >= 0) {
            insn->addr = area->start + (uint64_t)at;
            result = 0;
        }
    }
    close(fd);
    return result;
}

int remote_find_insn(pid_t pid, struct rptr *insn) {
    struct area_list areas;
    int result = maps_read(pid, 0, 0, &areas);
    if (result)
        return result;
    result = find_insn(pid, &areas, insn);
    maps_free(&areas);
    return result;
}

int restore_begin(struct restore *restore, pid_t pid, const struct area_list *wanted) {
    *restore = (struct restore){.pid = pid};
    restore->remote = calloc(1, sizeof *restore->remote);
    if (!restore->remote)
        return -ENOMEM;
    restore->remote->mem_fd = -1;
    int status, result;
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE) ||
        ptrace(PTRACE_INTERRUPT, pid, 0, 0))
        return -errno;
    if ((result = tracee_wait_stop(pid, &status, 10000)))
        return result;
    restore->begun = true;
    struct area_list now;
    if ((result = maps_read(pid, 0, 0, &now)))
        return result;
    struct rptr insn;
    uint64_t gap = find_gap(&now, wanted, REMOTE_SCRATCH_SIZE);
    result = gap ? find_insn(pid, &now, &insn) : -ENOMEM;
    if (!result)
        result = remote_begin(restore->remote, pid, pid, insn, (struct rptr){gap}, false);
    for (size_t i = 0; i < now.count && !result; i++)
        if (now.areas[i].kind != AREA_VDSO)
            result = (int)REMOTE_CALL(restore->remote, SYS_munmap, now.areas[i].start,
                                      now.areas[i].end - now.areas[i].start);
    if (!result)
        result = move_vdso(restore, &now, wanted);
    maps_free(&now);
    return result;
}

struct open_file {
    const char *path;
    int64_t fd;
};

static int64_t open_backing(struct restore *restore, const struct area *area, struct open_file *file) {
    struct remote *remote = restore->remote;
    if (file->path && !strcmp(file->path, area->path))
        return file->fd;
    if (file->path)
        (void)REMOTE_CALL(remote, SYS_close, file->fd);
    file->path = NULL;
    int result = remote_write(remote, remote->data, area->path, strlen(area->path) + 1);
    if (result)
        return result;
    int64_t fd = REMOTE_CALL(remote, SYS_openat, (uint64_t)AT_FDCWD, remote->data.addr, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fd;
    *file = (struct open_file){area->path, fd};
    uint64_t words[18];
    int64_t stated = REMOTE_CALL(remote, SYS_fstat, fd, remote->data.addr);
    if (stated)
        return stated;
    if ((result = remote_read(remote, remote->data, words, sizeof words)))
        return result;
    return words[1] == area->inode ? fd : -ESTALE; /* st_ino */
}

static int map_range(struct restore *restore, const struct area *area, uint64_t start, uint64_t end,
                     struct open_file *file) {
    uint64_t flags = MAP_FIXED_NOREPLACE | (area->kind == AREA_FILE_SHARED ? MAP_SHARED : MAP_PRIVATE);
    int64_t fd = -1;
    if (area->kind == AREA_ANON)
        flags |= MAP_ANONYMOUS;
    else if ((fd = open_backing(restore, area, file)) < 0)
        return (int)fd;
    if (area->flags & AREA_FLAG_GROWSDOWN)
        flags |= MAP_GROWSDOWN;
    if (area->flags & AREA_FLAG_NORESERVE)
        flags |= MAP_NORESERVE;
    int64_t at = REMOTE_CALL(restore->remote, SYS_mmap, start, end - start, area->prot, flags, (uint64_t)fd,
                             area->offset + (start - area->start));
    return at == (int64_t)start ? 0 : at < 0 ? (int)at : -EEXIST;
}

/* Unmap what the old list has in [start, end) and is not to stay. */
static int unmap_range(struct restore *restore, uint64_t start, uint64_t end) {
    return start < end ? (int)REMOTE_CALL(restore->remote, SYS_munmap, start, end - start) : 0;
}

/* Move the scratch area out of the way of the wanted areas. */
static int avoid_scratch(struct restore *restore, const struct area_list *wanted) {
    struct remote *remote = restore->remote;
    uint64_t start = remote->scratch.addr, end = start + REMOTE_SCRATCH_SIZE;
    bool overlap = false;
    for (size_t i = 0; i < wanted->count; i++)
        overlap |= wanted->areas[i].start < end && wanted->areas[i].end > start;
    if (!overlap)
        return 0;
    uint64_t gap = find_gap(&restore->areas, wanted, REMOTE_SCRATCH_SIZE);
    struct rptr insn = remote->insn;
    pid_t tid = remote->tid;
    int result = gap ? remote_end(remote) : -ENOMEM;
    return result ? result : remote_begin(remote, restore->pid, tid, insn, (struct rptr){gap}, false);
}

int restore_areas(struct restore *restore, struct area_list *wanted) {
    struct open_file file = {0};
    int result = avoid_scratch(restore, wanted);
    /* First everything that goes away or changes its backing, then what is new: addresses never collide. */
    for (size_t i = 0; i < restore->areas.count && !result; i++) {
        const struct area *old = &restore->areas.areas[i];
        if (old->kind == AREA_VDSO)
            continue;
        uint64_t at = old->start;
        for (size_t k = 0; k < wanted->count && !result && at < old->end; k++) {
            const struct area *new = &wanted->areas[k];
            if (new->end <= at || new->start >= old->end || !area_same_backing(old, new))
                continue;
            if (new->start > at)
                result = unmap_range(restore, at, new->start);
            at = new->end;
        }
        if (!result && at < old->end)
            result = unmap_range(restore, at, old->end);
    }
    for (size_t k = 0; k < wanted->count && !result; k++) {
        const struct area *new = &wanted->areas[k];
        if (new->kind == AREA_VDSO)
            continue;
        uint64_t at = new->start;
        for (size_t i = 0; i < restore->areas.count && !result && at < new->end; i++) {
            const struct area *old = &restore->areas.areas[i];
            if (old->kind == AREA_VDSO || old->end <= at || old->start >= new->end || !area_same_backing(old, new))
                continue;
            if (old->start > at)
                result = map_range(restore, new, at, old->start, &file);
            uint64_t from = old->start > at ? old->start : at, to = old->end < new->end ? old->end : new->end;
            if (!result && old->prot != new->prot)
                result = (int)REMOTE_CALL(restore->remote, SYS_mprotect, from, to - from, new->prot);
            at = to;
        }
        if (!result && at < new->end)
            result = map_range(restore, new, at, new->end, &file);
    }
    if (file.path)
        (void)REMOTE_CALL(restore->remote, SYS_close, file.fd);
    if (result)
        return result;
    maps_free(&restore->areas);
    restore->areas = *wanted;
    *wanted = (struct area_list){0};
    return 0;
}

int restore_discard(struct restore *restore, const struct page_runs *runs) {
    struct remote *remote = restore->remote;
    for (size_t i = 0; i < runs->count;) {
        size_t queued = 0;
        for (; i < runs->count && queued < ARCH_MAX_CALLS; i++, queued++)
            REMOTE_QUEUE(remote, SYS_madvise, runs->runs[i].start, runs->runs[i].end - runs->runs[i].start,
                         MADV_DONTNEED);
        int result = remote_run(remote);
        if (result)
            return result;
    }
    return 0;
}

static int set_memory_map(struct restore *restore, const struct process_image *image) {
    struct remote *remote = restore->remote;
    int result = remote_write(remote, remote->data, image->executable, strlen(image->executable) + 1);
    if (result)
        return result;
    int64_t fd = REMOTE_CALL(remote, SYS_openat, (uint64_t)AT_FDCWD, remote->data.addr, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    struct prctl_mm_map map;
    _Static_assert(sizeof(struct prctl_mm_map) == 104, "struct prctl_mm_map");
    memcpy(&map, image->core.mm, sizeof image->core.mm);
    map.auxv = (void *)(uintptr_t)(remote->data.addr + 512);
    map.auxv_size = (uint32_t)image->auxv_length;
    map.exe_fd = (uint32_t)fd;
    if ((result = remote_write(remote, remote->data, &map, sizeof map)) ||
        (result = remote_write(remote, (struct rptr){remote->data.addr + 512}, image->auxv, image->auxv_length)))
        return result;
    int64_t set = REMOTE_CALL(remote, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, remote->data.addr, sizeof map, 0);
    (void)REMOTE_CALL(remote, SYS_close, fd);
    return (int)set;
}

static int set_time_namespace(struct remote *remote) {
    static const char path[] = "/proc/1/ns/time_for_children";
    int result = remote_write(remote, remote->data, path, sizeof path);
    if (result)
        return result;
    int64_t fd = REMOTE_CALL(remote, SYS_openat, (uint64_t)AT_FDCWD, remote->data.addr, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    int64_t joined = REMOTE_CALL(remote, SYS_setns, fd, 0x80 /* CLONE_NEWTIME */);
    (void)REMOTE_CALL(remote, SYS_close, fd);
    return (int)joined;
}

static int create_timers(struct restore *restore, const struct process_image *image) {
    struct remote *remote = restore->remote;
    uint64_t data = remote->data.addr;
    if (!image->timer_count)
        return 0;
    /* Since 6.15 the id can be asked for; before, ids count up, so timers are made and deleted until it comes. */
    bool by_id = REMOTE_CALL(remote, SYS_prctl, 77 /* PR_TIMER_CREATE_RESTORE_IDS */, 1) == 0;
    for (size_t i = 0; i < image->timer_count; i++) {
        const struct timer_image *timer = &image->timers[i];
        struct {
            uint64_t value;
            int32_t signal, notify, tid, pad[11];
            int32_t id;
        } event = {
            .value = timer->value_pointer, .signal = timer->signal, .notify = timer->notify, .tid = timer->target_tid};
        bool made = false;
        for (int tries = 0; !made && tries < 100000; tries++) {
            event.id = timer->id;
            int result = remote_write(remote, remote->data, &event, sizeof event);
            if (result)
                return result;
            int64_t created = REMOTE_CALL(remote, SYS_timer_create, (int64_t)timer->clock, data,
                                          data + (uint64_t)((char *)&event.id - (char *)&event));
            if (created)
                return (int)created;
            if ((result = remote_read(remote, remote->data, &event, sizeof event)))
                return result;
            made = event.id == timer->id;
            if (!made && (by_id || event.id > timer->id))
                return -EBUSY;
            if (!made)
                (void)REMOTE_CALL(remote, SYS_timer_delete, event.id);
        }
        uint64_t times[4] = {timer->interval_s, timer->interval_ns, timer->value_s, timer->value_ns};
        int result = remote_write(remote, remote->data, times, sizeof times);
        if (result)
            return result;
        if (timer->value_s || timer->value_ns) {
            int64_t set = REMOTE_CALL(remote, SYS_timer_settime, timer->id, 0, data, 0);
            if (set)
                return (int)set;
        }
    }
    if (by_id)
        (void)REMOTE_CALL(remote, SYS_prctl, 77, 0);
    return 0;
}

static int set_process_wide(struct restore *restore, const struct process_image *image) {
    struct remote *remote = restore->remote;
    const struct process_core *core = &image->core;
    uint64_t data = remote->data.addr;
    int result = remote_write(remote, remote->data, image->directory, strlen(image->directory) + 1);
    if (result)
        return result;
    int64_t changed = REMOTE_CALL(remote, SYS_chdir, data);
    if (changed)
        return (int)changed;
    if ((result = remote_write(remote, remote->data, core->actions, sizeof core->actions)))
        return result;
    for (int i = 0; i < PROCESS_SIGNALS; i++)
        if (i + 1 != SIGKILL && i + 1 != SIGSTOP)
            REMOTE_QUEUE(remote, SYS_rt_sigaction, i + 1, data + 32 * (uint64_t)i, 0, 8);
    size_t last = REMOTE_QUEUE(remote, SYS_umask, core->umask);
    REMOTE_QUEUE(remote, SYS_personality, core->personality);
    if (core->subreaper)
        REMOTE_QUEUE(remote, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    if (core->thp_disable)
        REMOTE_QUEUE(remote, SYS_prctl, PR_SET_THP_DISABLE, 1);
    if ((result = remote_run(remote)))
        return result;
    for (size_t i = 0; i < last; i++)
        if (remote_result(remote, i))
            return (int)remote_result(remote, i);
    if ((result = remote_write(remote, remote->data, core->rlimits, sizeof core->rlimits)) ||
        (result = remote_write(remote, (struct rptr){data + 4096}, core->itimers, sizeof core->itimers)))
        return result;
    for (int i = 0; i < PROCESS_RLIMITS; i++)
        REMOTE_QUEUE(remote, SYS_prlimit64, 0, i, data + 16 * (uint64_t)i, 0);
    for (int i = 0; i < 3; i++)
        REMOTE_QUEUE(remote, SYS_setitimer, i, data + 4096 + 32 * (uint64_t)i, 0);
    if ((result = remote_run(remote)))
        return result;
    for (int i = 0; i < PROCESS_RLIMITS + 3; i++)
        if (remote_result(remote, (size_t)i))
            return (int)remote_result(remote, (size_t)i); /* a limit above what is allowed here */
    char path[64], text[16];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", restore->pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) { /* may be refused below the inherited one: then it keeps that */
        int length = snprintf(text, sizeof text, "%d", core->oom_score_adj);
        if (write(fd, text, (size_t)length) != length)
            errno = 0;
        close(fd);
    }
    return 0;
}

static int advise_areas(struct restore *restore) {
    struct remote *remote = restore->remote;
    static const struct {
        uint32_t flag;
        int advice;
    } advice[] = {
        {AREA_FLAG_DONTFORK, MADV_DONTFORK},     {AREA_FLAG_DONTDUMP, MADV_DONTDUMP},
        {AREA_FLAG_HUGEPAGE, MADV_HUGEPAGE},     {AREA_FLAG_NOHUGEPAGE, MADV_NOHUGEPAGE},
        {AREA_FLAG_WIPEONFORK, MADV_WIPEONFORK}, {AREA_FLAG_MERGEABLE, MADV_MERGEABLE},
        {AREA_FLAG_SEQUENTIAL, MADV_SEQUENTIAL}, {AREA_FLAG_RANDOM, MADV_RANDOM},
    };
    for (size_t i = 0; i < restore->areas.count; i++) {
        const struct area *area = &restore->areas.areas[i];
        if (area->kind == AREA_VDSO)
            continue;
        for (size_t k = 0; k < sizeof advice / sizeof *advice; k++)
            if (area->flags & advice[k].flag)
                REMOTE_QUEUE(remote, SYS_madvise, area->start, area->end - area->start, advice[k].advice);
        if (area->flags & AREA_FLAG_LOCKED)
            REMOTE_QUEUE(remote, SYS_mlock2, area->start, area->end - area->start,
                         area->flags & AREA_FLAG_LOCKONFAULT ? 1 : 0);
        if (remote->queued > ARCH_MAX_CALLS - 16) {
            int result = remote_run(remote);
            if (result)
                return result;
        }
    }
    return remote_run(remote);
}

static int make_threads(struct restore *restore, const struct process_image *image) {
    struct remote *remote = restore->remote;
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
            cgroup;
        uint64_t tid;
    } arguments;
    for (size_t i = 1; i < image->thread_count;) {
        size_t batch = 0;
        for (; i < image->thread_count && batch < 512; i++, batch++) {
            uint64_t at = remote->data.addr + batch * sizeof arguments;
            memset(&arguments, 0, sizeof arguments);
            arguments.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
            arguments.set_tid = at + offsetof(__typeof__(arguments), tid);
            arguments.set_tid_size = 1;
            arguments.tid = (uint64_t)(uint32_t)image->threads[i].core.tid;
            int result = remote_write(remote, (struct rptr){at}, &arguments, sizeof arguments);
            if (result)
                return result;
            REMOTE_QUEUE(remote, SYS_clone3, at, 88);
        }
        int result = remote_run(remote);
        for (size_t k = 0; k < batch && !result; k++)
            if (remote_result(remote, k) != image->threads[i - batch + k].core.tid)
                result = remote_result(remote, k) < 0 ? (int)remote_result(remote, k) : -EIO;
        if (result)
            return result;
    }
    return 0;
}

static pid_t inner_tid(pid_t pid, pid_t tid) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return -1;
    text[length] = 0;
    char *line = strstr(text, "\nNSpid:"), *end = line ? strchr(line + 1, '\n') : NULL;
    if (!end)
        return -1;
    *end = 0;
    char *last = strrchr(line, '\t');
    return last ? (pid_t)atoi(last + 1) : -1;
}

/* Fill *tracee with the new threads, in the order of the image. */
static int find_threads(struct restore *restore, const struct process_image *image, struct tracee *tracee) {
    *tracee = (struct tracee){.pid = restore->pid};
    size_t room = 1;
    while (room < image->thread_count)
        room *= 2;
    tracee->threads = calloc(room, sizeof *tracee->threads);
    if (!tracee->threads)
        return -ENOMEM;
    tracee->thread_count = image->thread_count;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", restore->pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);
        pid_t inner = tid > 0 ? inner_tid(restore->pid, tid) : -1;
        for (size_t i = 0; inner > 0 && i < image->thread_count; i++)
            if (image->threads[i].core.tid == inner)
                tracee->threads[i].tid = tid;
    }
    closedir(dir);
    for (size_t i = 0; i < image->thread_count; i++) {
        if (!tracee->threads[i].tid)
            return -ESRCH;
        int status, result = i ? tracee_wait_stop(tracee->threads[i].tid, &status, 10000) : 0;
        if (result)
            return result;
        tracee->threads[i].inner_tid = image->threads[i].core.tid;
    }
    return 0;
}

static int queue_signals(struct remote *remote, pid_t pid, pid_t tid, const siginfo_t *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int result = remote_write(remote, remote->data, &list[i], sizeof list[i]);
        if (result)
            return result;
        int64_t sent = tid ? REMOTE_CALL(remote, SYS_rt_tgsigqueueinfo, pid, tid, list[i].si_signo, remote->data.addr)
                           : REMOTE_CALL(remote, SYS_rt_sigqueueinfo, pid, list[i].si_signo, remote->data.addr);
        if (sent)
            return (int)sent;
    }
    return 0;
}

static int set_thread(struct restore *restore, const struct process_image *image, struct thread_image *thread,
                      pid_t tid) {
    struct remote *remote = restore->remote;
    struct thread_core *core = &thread->core;
    int result = remote_use_thread(remote, tid);
    if (result)
        return result;
    uint64_t data = remote->data.addr;
    struct {
        uint64_t pointer;
        uint32_t flags, pad;
        uint64_t size;
        char name[16];
        uint64_t affinity[16];
        struct __user_cap_header_struct header;
        struct __user_cap_data_struct capabilities[2];
    } words = {.pointer = core->altstack_pointer, .flags = core->altstack_flags & ~1u, .size = core->altstack_size};
    memcpy(words.name, core->name, sizeof words.name);
    memcpy(words.affinity, core->affinity, sizeof words.affinity);
    words.header.version = _LINUX_CAPABILITY_VERSION_3;
    for (int i = 0; i < 2; i++) {
        words.capabilities[i].effective = (uint32_t)(image->core.effective_capabilities >> (32 * i));
        words.capabilities[i].permitted = (uint32_t)(image->core.permitted_capabilities >> (32 * i));
        words.capabilities[i].inheritable = (uint32_t)(image->core.inheritable_capabilities >> (32 * i));
    }
    if ((result = remote_write(remote, remote->data, &words, sizeof words)))
        return result;
    size_t must = 0;
    REMOTE_QUEUE(remote, SYS_sigaltstack, data, 0);
    REMOTE_QUEUE(remote, SYS_set_robust_list, core->robust_list, core->robust_length);
    REMOTE_QUEUE(remote, SYS_prctl, PR_SET_NAME, data + offsetof(__typeof__(words), name));
    REMOTE_QUEUE(remote, SYS_prctl, PR_SET_PDEATHSIG, core->parent_death_signal);
    if (core->rseq_pointer)
        REMOTE_QUEUE(remote, SYS_rseq, core->rseq_pointer, core->rseq_size, core->rseq_flags, core->rseq_signature);
    must = remote->queued;
    size_t tid_call = REMOTE_QUEUE(remote, SYS_set_tid_address, core->clear_tid);
    REMOTE_QUEUE(remote, SYS_prctl, PR_SET_TIMERSLACK, core->timer_slack);
    if (core->nice > 0)
        REMOTE_QUEUE(remote, SYS_setpriority, PRIO_PROCESS, core->tid, core->nice);
    /* Processors that are not there are left out by the kernel; none of them there: it may run on all. */
    REMOTE_QUEUE(remote, SYS_sched_setaffinity, core->tid, sizeof core->affinity,
                 data + offsetof(__typeof__(words), affinity));
    if ((result = remote_run(remote)))
        return result;
    for (size_t i = 0; i < must; i++)
        if (remote_result(remote, i))
            return remote_result(remote, i) < 0 ? (int)remote_result(remote, i) : -EIO;
    if (remote_result(remote, tid_call) != core->tid)
        return -EIO;
    if ((result = queue_signals(remote, image->core.pid, core->tid, thread->pending, thread->pending_count)))
        return result;
    if (core->pending_signal && (result = queue_signals(remote, image->core.pid, core->tid, &core->pending_info, 1)))
        return result;
    if ((result = remote_write(remote, remote->data, &words, sizeof words)))
        return result;
    if (image->core.no_new_privs)
        REMOTE_QUEUE(remote, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    REMOTE_QUEUE(remote, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    size_t caps = REMOTE_QUEUE(remote, SYS_capset, data + offsetof(__typeof__(words), header),
                               data + offsetof(__typeof__(words), capabilities));
    if ((result = remote_run(remote)))
        return result;
    return (int)remote_result(remote, caps);
}

int restore_finish(struct restore *restore, const struct engine_capsule *capsule, struct process_image *image,
                   struct tracee *tracee, const char **stage) {
    struct remote *remote = restore->remote;
    const struct process_core *core = &image->core;
    int result;
    *tracee = (struct tracee){0};
#define STEP(name, call)                                                                                               \
    do {                                                                                                               \
        *stage = name;                                                                                                 \
        if ((result = (call)))                                                                                         \
            return result;                                                                                             \
    } while (0)
    STEP("kernel", ({
             struct area_list now;
             uint32_t bytes = 0, sum = 0;
             int read = maps_read(restore->pid, 0, 0, &now);
             if (!read) {
                 sum = vdso_checksum(restore->pid, &now, &bytes);
                 maps_free(&now);
             }
             read ? read : sum == core->vdso_checksum &&bytes == core->vdso_bytes ? 0 : -ENOEXEC;
         }));
    STEP("time", set_time_namespace(remote));
    STEP("descriptors", fds_restore(remote, capsule, image));
    STEP("memory map", set_memory_map(restore, image));
    STEP("process", set_process_wide(restore, image));
    STEP("timers", create_timers(restore, image));
    STEP("advice", advise_areas(restore));
    STEP("threads", make_threads(restore, image));
    STEP("threads found", find_threads(restore, image, tracee));
    STEP("signals", queue_signals(remote, core->pid, 0, image->pending, image->pending_count));
    for (size_t i = image->thread_count; i-- > 0;)
        STEP("thread", set_thread(restore, image, &image->threads[i], tracee->threads[i].tid));
    /* capset makes a process undumpable when it gives up rights; the last word is the task's own. */
    STEP("dumpable", (int)REMOTE_CALL(remote, SYS_prctl, PR_SET_DUMPABLE, core->dumpable == 1 ? 1 : 0));
    struct timespec now;
    STEP("clock", (int)REMOTE_CALL(remote, SYS_clock_gettime, CLOCK_MONOTONIC, remote->data.addr + 65536));
    STEP("clock", remote_read(remote, (struct rptr){remote->data.addr + 65536}, &now, sizeof now));
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
    for (size_t i = image->thread_count; i-- > 0;) {
        STEP("wait", remote_use_thread(remote, tracee->threads[i].tid));
        STEP("wait", wait_restore(remote, now_ns, &image->threads[i].core));
    }
    STEP("scratch", remote_end(remote));
    for (size_t i = 0; i < image->thread_count; i++) {
        struct thread_image *thread = &image->threads[i];
        pid_t tid = tracee->threads[i].tid;
        STEP("vector registers", arch_set_xstate(tid, thread->xstate, thread->xstate_length));
        STEP("registers", arch_set_regs(tid, &thread->core.regs));
        STEP("signal mask", ptrace(SETSIGMASK, tid, (void *)8, &thread->core.signal_mask) ? -errno : 0);
    }
    *stage = "done";
    return 0;
#undef STEP
}

void restore_abandon(struct restore *restore) {
    if (restore->remote && restore->remote->mem_fd >= 0)
        close(restore->remote->mem_fd);
    free(restore->remote);
    maps_free(&restore->areas);
    *restore = (struct restore){0};
}
