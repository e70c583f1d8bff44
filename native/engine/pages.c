/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A userfaultfd made inside the process and taken out by pidfd_getfd write-protects pages in
 * asynchronous mode: the kernel clears the protection on the first write by itself, no one is stopped, and
 * PAGEMAP_SCAN reports such pages as WRITTEN and can protect them again in the same step.
 *
 * Seen on 6.18: a page-table entry that is empty counts as WRITTEN without PRESENT or SWAPPED, be it that the page was
 * never there or that it was discarded; protecting such holes would fill page tables with markers, terabytes of them,
 * so the scans during pre-copy ask for pages that are there (anyof PRESENT, SWAPPED), and only the last one, with
 * the process stopped, asks where the holes are. A hole in an area that was tracked from the start is told to the other
 * side, which drops what it has there. PFNZERO (the shared zero page) is a hole as well.
 *
 * One unregistered area in a scanned range makes the scan fail with EPERM after earlier areas were protected again and
 * their dirtiness lost: so each registered stretch of an area is scanned by itself. Areas that appeared since are in
 * the list but not registered: they are fresh. A freed and mapped anew area at the same place has lost its
 * registration (EPERM), and is fresh too.
 *
 * Also seen on 6.18: a scan that finds more than 512 stretches fills a buffer of the kernel's on its way, and walk_end
 * then stays at where that happened, even when the scan went on to the end. So a scan whose answer is not full is over,
 * and a full one goes on behind its last stretch: going back would tell pages twice and out of order.
 */
#include "pages.h"
#include "kernel_abi.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SCAN_REGIONS 2048

int page_runs_add(struct page_runs *runs, uint64_t start, uint64_t end) {
    if (start >= end)
        return 0;
    runs->bytes += end - start;
    if (runs->count && runs->runs[runs->count - 1].end == start) {
        runs->runs[runs->count - 1].end = end;
        return 0;
    }
    if (runs->count == runs->room) {
        size_t room = runs->room ? runs->room * 2 : 256;
        struct page_run *grown = realloc(runs->runs, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        runs->runs = grown;
        runs->room = room;
    }
    runs->runs[runs->count++] = (struct page_run){start, end};
    return 0;
}

void page_runs_clear(struct page_runs *runs) {
    runs->count = 0;
    runs->bytes = 0;
}

void page_runs_free(struct page_runs *runs) {
    free(runs->runs);
    *runs = (struct page_runs){0};
}

int page_tracker_start(struct page_tracker *tracker, struct remote *remote) {
    *tracker = (struct page_tracker){.pid = remote->pid, .uffd = -1, .pagemap_fd = -1};
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/pagemap", remote->pid);
    tracker->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (tracker->pagemap_fd < 0)
        return -errno;
    int result = 0, pidfd = (int)syscall(SYS_pidfd_open, remote->pid, 0);
    if (pidfd < 0) {
        result = -errno;
        goto fail;
    }
    int64_t inner = REMOTE_CALL(remote, SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (inner < 0) {
        result = (int)inner;
        goto fail;
    }
    tracker->uffd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)inner, 0);
    if (tracker->uffd < 0)
        result = -errno;
    int64_t closed = REMOTE_CALL(remote, SYS_close, inner);
    if (!result && closed)
        result = (int)closed;
    struct uffdio_api api = {.api = UFFD_API,
                             .features = SKEIN_UFFD_FEATURE_WP_ASYNC | SKEIN_UFFD_FEATURE_WP_UNPOPULATED};
    if (!result && ioctl(tracker->uffd, UFFDIO_API, &api))
        result = -errno;
fail:
    if (pidfd >= 0)
        close(pidfd);
    if (result)
        page_tracker_stop(tracker);
    return result;
}

void page_tracker_stop(struct page_tracker *tracker) {
    if (tracker->uffd >= 0)
        close(tracker->uffd);
    if (tracker->pagemap_fd >= 0)
        close(tracker->pagemap_fd);
    tracker->uffd = tracker->pagemap_fd = -1;
    page_runs_free(&tracker->registered);
}

static bool carries_pages(const struct area *area) {
    return area->kind == AREA_ANON || area->kind == AREA_FILE_PRIVATE;
}

enum scan_mode { SCAN_PRECOPY, SCAN_FINAL, SCAN_PRESENT };

/* Scan one stretch of one area. */
static int scan(int pagemap_fd, uint64_t start, uint64_t end, enum scan_mode mode, struct page_runs *dirty,
                struct page_runs *gone) {
    static struct skein_page_region regions[SCAN_REGIONS];
    const uint64_t there = SKEIN_PAGE_IS_PRESENT | SKEIN_PAGE_IS_SWAPPED;
    while (start < end) {
        struct skein_pm_scan_arg arg = {
            .size = sizeof arg,
            .flags = mode == SCAN_PRECOPY ? SKEIN_PM_SCAN_WP_MATCHING | SKEIN_PM_SCAN_CHECK_WPASYNC : 0,
            .start = start,
            .end = end,
            .vec = (uint64_t)(uintptr_t)regions,
            .vec_len = SCAN_REGIONS,
            .category_mask = mode == SCAN_PRESENT ? 0 : SKEIN_PAGE_IS_WRITTEN,
            .category_anyof_mask = mode == SCAN_FINAL ? 0 : there,
            .return_mask = there | SKEIN_PAGE_IS_FILE | SKEIN_PAGE_IS_PFNZERO,
        };
        int count = ioctl(pagemap_fd, SKEIN_PAGEMAP_SCAN, &arg);
        if (count < 0)
            return -errno;
        for (int i = 0; i < count; i++) {
            uint64_t categories = regions[i].categories;
            bool carried = (categories & there) && !(categories & (SKEIN_PAGE_IS_FILE | SKEIN_PAGE_IS_PFNZERO));
            struct page_runs *to = carried ? dirty : gone;
            int result = to ? page_runs_add(to, regions[i].start, regions[i].end) : 0;
            if (result)
                return result;
        }
        if (count < SCAN_REGIONS)
            break;
        uint64_t reached = regions[count - 1].end;
        start = arg.walk_end > reached ? arg.walk_end : reached;
    }
    return 0;
}

static int register_range(struct page_tracker *tracker, uint64_t start, uint64_t end) {
    struct uffdio_register arg = {.range = {start, end - start}, .mode = UFFDIO_REGISTER_MODE_WP};
    return ioctl(tracker->uffd, UFFDIO_REGISTER, &arg) ? -errno : 0;
}

/* Collect a stretch that was not tracked before. */
static int collect_fresh(struct page_tracker *tracker, uint64_t start, uint64_t end, bool final,
                         struct page_runs *dirty, struct page_runs *fresh) {
    int result = page_runs_add(fresh, start, end);
    if (result)
        return result;
    if (final)
        return scan(tracker->pagemap_fd, start, end, SCAN_PRESENT, dirty, NULL);
    result = register_range(tracker, start, end);
    if (result == -ENOMEM || result == -EINVAL)
        return 0; /* it has changed since the list was read: the next round sees it as new */
    return result ? result : scan(tracker->pagemap_fd, start, end, SCAN_PRECOPY, dirty, NULL);
}

static int collect_tracked(struct page_tracker *tracker, uint64_t start, uint64_t end, bool final,
                           struct page_runs *dirty, struct page_runs *fresh, struct page_runs *gone) {
    if (final) {
        /* A scan without protection can't tell a lost registration from pages that were all written: either way
         * everything that is there is sent and everything that is not is dropped. */
        return scan(tracker->pagemap_fd, start, end, SCAN_FINAL, dirty, gone);
    }
    int result = scan(tracker->pagemap_fd, start, end, SCAN_PRECOPY, dirty, NULL);
    return result == -EPERM ? collect_fresh(tracker, start, end, final, dirty, fresh) : result;
}

int page_tracker_collect(struct page_tracker *tracker, const struct area_list *areas, bool final,
                         struct page_runs *dirty, struct page_runs *fresh, struct page_runs *gone) {
    struct page_runs now = {0};
    size_t known = 0;
    int result = 0;
    for (size_t i = 0; i < areas->count && !result; i++) {
        const struct area *area = &areas->areas[i];
        if (!carries_pages(area))
            continue;
        uint64_t at = area->start;
        while (at < area->end && !result) {
            while (known < tracker->registered.count && tracker->registered.runs[known].end <= at)
                known++;
            const struct page_run *run = known < tracker->registered.count ? &tracker->registered.runs[known] : NULL;
            bool tracked = run && run->start <= at;
            uint64_t stop = tracked ? run->end : run ? run->start : area->end;
            if (stop > area->end)
                stop = area->end;
            result = tracked ? collect_tracked(tracker, at, stop, final, dirty, fresh, gone)
                             : collect_fresh(tracker, at, stop, final, dirty, fresh);
            at = stop;
        }
        if (!result)
            result = page_runs_add(&now, area->start, area->end);
    }
    if (result) {
        page_runs_free(&now);
        return result;
    }
    page_runs_free(&tracker->registered);
    tracker->registered = now;
    return 0;
}

int pages_present(pid_t pid, const struct area_list *areas, struct page_runs *dirty) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < areas->count && !result; i++)
        if (carries_pages(&areas->areas[i]))
            result = scan(fd, areas->areas[i].start, areas->areas[i].end, SCAN_PRESENT, dirty, NULL);
    close(fd);
    return result;
}

/* One page at a time, by the slow way that ignores protection; pages that are gone are left out. */
static size_t read_slowly(int mem_fd, uint64_t start, uint64_t end, uint8_t *to, struct page_runs *done) {
    size_t copied = 0;
    for (uint64_t at = start; at < end; at += PAGE_BYTES)
        if (pread(mem_fd, to + copied, PAGE_BYTES, (off_t)at) == (ssize_t)PAGE_BYTES &&
            page_runs_add(done, at, at + PAGE_BYTES) == 0)
            copied += PAGE_BYTES;
    return copied;
}

#define MAX_IOV 256

ssize_t pages_read(pid_t pid, int mem_fd, const struct page_runs *runs, size_t *index, uint64_t *offset, void *to,
                   size_t room, struct page_runs *done) {
    struct iovec remote[MAX_IOV];
    size_t count = 0, wanted = 0;
    while (*index < runs->count && count < MAX_IOV && wanted < room) {
        const struct page_run *run = &runs->runs[*index];
        uint64_t from = run->start + *offset, length = run->end - from;
        if (length > room - wanted)
            length = room - wanted;
        remote[count++] = (struct iovec){(void *)(uintptr_t)from, length};
        wanted += length;
        *offset += length;
        if (from + length == run->end) {
            (*index)++;
            *offset = 0;
        }
    }
    if (!count)
        return 0;
    struct iovec local = {to, wanted};
    ssize_t got = process_vm_readv(pid, &local, 1, remote, count, 0);
    if (got == (ssize_t)wanted) {
        for (size_t i = 0; i < count; i++)
            if (page_runs_add(done, (uint64_t)(uintptr_t)remote[i].iov_base,
                              (uint64_t)(uintptr_t)remote[i].iov_base + remote[i].iov_len))
                return -ENOMEM;
        return got;
    }
    if (got < 0 && errno != EFAULT)
        return -errno;
    size_t copied = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t from = (uint64_t)(uintptr_t)remote[i].iov_base;
        copied += read_slowly(mem_fd, from, from + remote[i].iov_len, (uint8_t *)to + copied, done);
    }
    return (ssize_t)copied;
}

int pages_write(pid_t pid, int mem_fd, const struct page_runs *runs, const void *from, size_t length) {
    if (runs->bytes != length)
        return -EBADMSG;
    const uint8_t *at = from;
    for (size_t first = 0; first < runs->count;) {
        struct iovec remote[MAX_IOV];
        size_t count = 0, bytes = 0;
        for (; first + count < runs->count && count < MAX_IOV; count++) {
            const struct page_run *run = &runs->runs[first + count];
            remote[count] = (struct iovec){(void *)(uintptr_t)run->start, run->end - run->start};
            bytes += run->end - run->start;
        }
        struct iovec local = {(void *)at, bytes};
        if (process_vm_writev(pid, &local, 1, remote, count, 0) != (ssize_t)bytes) {
            /* Pages that may not be written (text, read-only data) go the way that ignores protection. */
            const uint8_t *again = at;
            for (size_t i = 0; i < count; i++) {
                for (size_t put = 0; put < remote[i].iov_len;) {
                    ssize_t step = pwrite(mem_fd, again + put, remote[i].iov_len - put,
                                          (off_t)((uint64_t)(uintptr_t)remote[i].iov_base + put));
                    if (step <= 0)
                        return step < 0 ? -errno : -EIO;
                    put += (size_t)step;
                }
                again += remote[i].iov_len;
            }
        }
        at += bytes;
        first += count;
    }
    return 0;
}
