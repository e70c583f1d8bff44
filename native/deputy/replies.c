/* SPDX-License-Identifier: Apache-2.0 */
#include "replies.h"
#include "../common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The room is reserved before it is mapped: to touch what a full disk can't hold would be the end. */
static int open_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = fd < 0 ? errno : posix_fallocate(fd, 0, sizeof(struct replies));
    if (!result)
        return fd;
    if (fd >= 0)
        close(fd);
    return -result;
}

struct replies *replies_open(const char *path, const char *key) {
    int fd = path ? open_file(path) : -1;
    if (path && fd < 0)
        log_line("can't keep answers in %s: %s", path, strerror(-fd));
    struct replies *replies =
        mmap(NULL, sizeof *replies, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (replies == MAP_FAILED)
        return NULL;
    if (strncmp(replies->key, key, sizeof replies->key) != 0) {
        memset(replies, 0, sizeof *replies);
        snprintf(replies->key, sizeof replies->key, "%s", key);
    }
    return replies;
}

void replies_close(struct replies *replies) {
    if (replies)
        munmap(replies, sizeof *replies);
}

/* Numbers grow by two, so that consecutive ones meet in different places. */
static unsigned place(uint64_t unique) {
    return (unsigned)(unique >> 1) % REPLIES_KEPT;
}

const void *replies_find(const struct replies *replies, uint64_t unique, size_t *length) {
    unsigned at = place(unique);
    if (unique == 0 || replies->kept[at].unique != unique)
        return NULL;
    *length = replies->kept[at].length;
    return replies->kept[at].bytes;
}

void replies_keep(struct replies *replies, uint64_t unique, const void *bytes, size_t length) {
    unsigned at = place(unique);
    if (length > REPLIES_BYTES)
        return;
    /* Whoever finds the number finds the whole answer, also when this process dies on the way. */
    replies->kept[at].unique = 0;
    atomic_signal_fence(memory_order_seq_cst);
    replies->kept[at].length = (uint32_t)length;
    memcpy(replies->kept[at].bytes, bytes, length);
    atomic_signal_fence(memory_order_seq_cst);
    replies->kept[at].unique = unique;
}
