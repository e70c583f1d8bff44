/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A pid alone is a poor name: it outlives its process and comes back as another one. With the
 * start time beside it, a file that a killed launcher left behind is known to be stale. The inode of the mount
 * namespace lets a command that already runs inside the node see that it does, even where the pid means nothing
 * because the command has the node's own process list.
 */
#include "pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fields 3 to 22 follow the last `)`: the name before it may contain anything. */
static int start_time(pid_t pid, uint64_t *ticks) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    ssize_t length = read(descriptor, text, sizeof text - 1);
    int error = errno;
    close(descriptor);
    if (length <= 0)
        return length == 0 ? -ESRCH : -error;
    text[length] = 0;
    const char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 22; number++) {
        /* A zombie's pid is taken but nobody is there. */
        if (number == 3 && (*field == 'Z' || *field == 'X'))
            return -ESRCH;
        field = strchr(field, ' ');
        if (field != NULL)
            field++;
    }
    return field != NULL && sscanf(field, "%" SCNu64, ticks) == 1 ? 0 : -EINVAL;
}

int pidfile_mounts(pid_t pid, uint64_t *inode) {
    char path[64];
    struct stat status;
    if (pid == 0)
        snprintf(path, sizeof path, "/proc/self/ns/mnt");
    else
        snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
    if (stat(path, &status) != 0)
        return -errno;
    *inode = status.st_ino;
    return 0;
}

int pidfile_describe(pid_t pid, bool isolated, struct pidfile *entry) {
    *entry = (struct pidfile){.pid = pid};
    int result = start_time(pid, &entry->start_time);
    if (result == 0 && isolated)
        result = pidfile_mounts(pid, &entry->mounts);
    return result;
}

bool pidfile_alive(const struct pidfile *entry) {
    uint64_t now;
    return start_time(entry->pid, &now) == 0 && now == entry->start_time;
}

int pidfile_read(const char *path, struct pidfile *entry) {
    char text[PIDFILE_BYTES + 1];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC), pid;
    if (descriptor < 0)
        return -errno;
    ssize_t length = pread(descriptor, text, PIDFILE_BYTES, 0);
    int error = errno;
    close(descriptor);
    if (length < 0)
        return -error;
    text[length] = 0;
    *entry = (struct pidfile){0};
    if (sscanf(text, "%d %" SCNu64 " %" SCNu64, &pid, &entry->start_time, &entry->mounts) != 3 || pid <= 0)
        return -EINVAL;
    entry->pid = pid;
    return 0;
}

int pidfile_store(int descriptor, const struct pidfile *entry) {
    char text[PIDFILE_BYTES + 1];
    int length =
        snprintf(text, sizeof text, "%d %" PRIu64 " %" PRIu64, (int)entry->pid, entry->start_time, entry->mounts);
    if (length < 0 || length >= PIDFILE_BYTES)
        return -EOVERFLOW;
    memset(text + length, ' ', (size_t)(PIDFILE_BYTES - 1 - length));
    text[PIDFILE_BYTES - 1] = '\n';
    ssize_t written = pwrite(descriptor, text, PIDFILE_BYTES, 0);
    if (written < 0)
        return -errno;
    return written == PIDFILE_BYTES ? 0 : -ENOSPC;
}

int pidfile_write(const char *path, const struct pidfile *entry) {
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
        return -ENAMETOOLONG;
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor < 0)
        return -errno;
    int result = pidfile_store(descriptor, entry);
    if (close(descriptor) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(temporary, path) != 0)
        result = -errno;
    if (result != 0)
        unlink(temporary);
    return result;
}
