/* SPDX-License-Identifier: Apache-2.0
 *
 * Which pages of a running process have changed, and their contents.
 */
#ifndef SKEIN_PAGES_H
#define SKEIN_PAGES_H

#include "maps.h"
#include "remote.h"

#define PAGE_BYTES 4096ull

struct page_run {
    uint64_t start, end; /* bytes, page-aligned */
};
struct page_runs {
    struct page_run *runs;
    size_t count, room;
    uint64_t bytes;
};
int page_runs_add(struct page_runs *runs, uint64_t start, uint64_t end);
void page_runs_clear(struct page_runs *runs);
void page_runs_free(struct page_runs *runs);

struct page_tracker {
    pid_t pid;
    int uffd;       /* -1: not tracking */
    int pagemap_fd; /* /proc/PID/pagemap */
    struct page_runs registered;
};

/* Begin to track: `remote` is a session in the stopped process. */
int page_tracker_start(struct page_tracker *tracker, struct remote *remote);
/* Stop tracking: the kernel forgets what is write-protected. */
void page_tracker_stop(struct page_tracker *tracker);
/* Changed pages of the areas since the last collection, which are protected again, go to `dirty`. Areas that were not
 * tracked so far are registered first: all their pages are dirty, and their ranges go to `fresh` (what the other side
 * has there is void). With `final` (the process is stopped): nothing is protected, and what a tracked area no longer
 * has (discarded pages) goes to `gone`. */
int page_tracker_collect(struct page_tracker *tracker, const struct area_list *areas, bool final,
                         struct page_runs *dirty, struct page_runs *fresh, struct page_runs *gone);
/* The same without tracking: all pages that must be carried. */
int pages_present(pid_t pid, const struct area_list *areas, struct page_runs *dirty);

/* Copy pages out of the process into `to`: up to `room` bytes, beginning at run *index and byte *offset in it, which
 * are advanced. What was read is listed in `done`. Pages that went away meanwhile are left out. Bytes copied, or
 * -errno. */
ssize_t pages_read(pid_t pid, int mem_fd, const struct page_runs *runs, size_t *index, uint64_t *offset, void *to,
                   size_t room, struct page_runs *done);
/* Copy pages into the process. */
int pages_write(pid_t pid, int mem_fd, const struct page_runs *runs, const void *from, size_t length);

#endif
