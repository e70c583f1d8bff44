/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors.
 *
 * Theory of operation. /proc/PID/fd and fdinfo tell kind, position, flags, mount and inode; kcmp tells which
 * descriptors share one open file. An open file of home is known at home by a handle; the frozen process calls fsync on
 * it, which the shepherd's relay sees as a FUSE request with that handle and answers itself. On the target the same
 * handle is adopted by the next open of that path, and a second fsync proves that it is the same one. Contents of pipes
 * are copied with tee(2), which takes nothing out. The standard pipes and the terminal were made by the capsule's init
 * and wait in the new process at 0, 1, 2.
 */
#include "process.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_FLAG 010000000u
#define CLOEXEC_FLAG 02000000u
/* Flags that an open file keeps (the rest acts only while opening). */
#define KEPT_FLAGS                                                                                                     \
    ((unsigned)(O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_NOATIME | O_DIRECTORY | O_LARGEFILE))

struct fd_facts {
    int fd;
    unsigned long long position, flags, inode;
    int mount;
    bool locked, fifo;
    char target[MAPS_MAX_PATH + 32];
};

/* Only a pipe has a size. stat would do, but a file of home must not be looked at by who serves it. */
static bool is_fifo(pid_t pid, int fd) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int copy = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    bool fifo = copy >= 0 && fcntl(copy, F_GETPIPE_SZ) >= 0;
    if (copy >= 0)
        close(copy);
    if (pidfd >= 0)
        close(pidfd);
    return fifo;
}

static int read_facts(pid_t pid, int fd, struct fd_facts *facts) {
    char path[64], text[4096];
    *facts = (struct fd_facts){.fd = fd};
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    ssize_t length = readlink(path, facts->target, sizeof facts->target - 1);
    if (length < 0)
        return -errno;
    facts->target[length] = 0;
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", pid, fd);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -errno;
    length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0)
        return -EIO;
    text[length] = 0;
    if (sscanf(text, "pos:\t%llu\nflags:\t%llo\nmnt_id:\t%d\nino:\t%llu", &facts->position, &facts->flags,
               &facts->mount, &facts->inode) < 4)
        return -EIO;
    facts->locked = strstr(text, "\nlock:") != NULL;
    facts->fifo = facts->target[0] == '/' && is_fifo(pid, fd);
    return 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

static bool is_plain_device(const char *path) {
    static const char *const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(path, names[i]))
            return true;
    return false;
}

/* What it is, into *kind and *index; false with a reason when it can't move. */
static bool classify(pid_t shown_pid, const struct fd_facts *facts, const struct engine_capsule *capsule,
                     struct stay_reasons *reasons, enum fd_kind *kind, uint32_t *index) {
    const char *target = facts->target;
    *index = 0;
    if (facts->locked) {
        stay_because(reasons, shown_pid, "lock", "descriptor %d holds a lock on %s", facts->fd, target);
        return false;
    }
    if (!strncmp(target, "pipe:[", 6)) {
        *kind = FD_KIND_PIPE;
        for (uint32_t i = 0; i < 3; i++)
            if (capsule->stdio_inode[i] && capsule->stdio_inode[i] == facts->inode) {
                *kind = FD_KIND_STDIO;
                *index = i;
            }
        return true;
    }
    if (facts->flags & PATH_FLAG && target[0] == '/' && facts->mount == capsule->root_mount &&
        !ends_with(target, " (deleted)")) {
        *kind = FD_KIND_PATH;
        return true;
    }
    if (capsule->has_terminal && (!strcmp(target, "/dev/pts/0") || !strcmp(target, "/dev/tty"))) {
        *kind = FD_KIND_TERMINAL;
        return true;
    }
    if (is_plain_device(target)) {
        *kind = FD_KIND_DEVICE;
        return true;
    }
    if (target[0] == '/' && facts->mount == capsule->root_mount) {
        if (ends_with(target, " (deleted)")) {
            stay_because(reasons, shown_pid, "file", "descriptor %d is a deleted file: %s", facts->fd, target);
            return false;
        }
        if (facts->fifo) {
            stay_because(reasons, shown_pid, "fifo", "descriptor %d is a named pipe, which can't be moved yet: %s",
                         facts->fd, target);
            return false;
        }
        *kind = FD_KIND_FILE;
        return true;
    }
    const char *what = !strncmp(target, "socket:", 7)        ? "socket"
                       : !strncmp(target, "anon_inode:", 11) ? "object"
                                                             : "file";
    stay_because(reasons, shown_pid, what, "descriptor %d is %s, which can't be moved yet", facts->fd, target);
    return false;
}

/* All descriptors in order; count or -errno. */
static int list_fds(pid_t pid, int **list) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    size_t count = 0, room = 64;
    int *fds = malloc(room * sizeof *fds);
    struct dirent *entry;
    while (fds && (entry = readdir(dir))) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        if (count == room) {
            room *= 2;
            int *grown = room > PROCESS_MAX_FDS * 2 ? NULL : realloc(fds, room * sizeof *fds);
            if (!grown) {
                free(fds);
                fds = NULL;
                break;
            }
            fds = grown;
        }
        int value = atoi(entry->d_name);
        size_t at = count++;
        for (; at > 0 && fds[at - 1] > value; at--)
            fds[at] = fds[at - 1];
        fds[at] = value;
    }
    closedir(dir);
    if (!fds)
        return -ENOMEM;
    *list = fds;
    return (int)count;
}

int fds_probe(pid_t pid, const struct engine_capsule *capsule, struct stay_reasons *reasons) {
    int *list, count = list_fds(pid, &list);
    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        struct fd_facts facts;
        enum fd_kind kind;
        uint32_t index;
        if (read_facts(pid, list[i], &facts) == 0)
            (void)classify(pid, &facts, capsule, reasons, &kind, &index);
    }
    free(list);
    return 0;
}

static int32_t find_same(pid_t pid, const struct process_image *image, const struct fd_image *fd) {
    for (size_t i = 0; i < image->fd_count; i++) {
        const struct fd_image *other = &image->fds[i];
        if (other->kind == fd->kind && other->inode == fd->inode && other->same_as < 0 &&
            syscall(SYS_kcmp, pid, pid, KCMP_FILE, other->fd, fd->fd) == 0)
            return other->fd;
    }
    return -1;
}

static int dump_pipe(pid_t pid, const struct process_image *image, struct fd_image *fd) {
    for (size_t i = 0; i < image->fd_count; i++)
        if (image->fds[i].kind == FD_KIND_PIPE && image->fds[i].inode == fd->inode && image->fds[i].pipe_size)
            return 0; /* its contents are with the other end */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return -errno;
    int result = 0, ends[2] = {-1, -1}, source = (int)syscall(SYS_pidfd_getfd, pidfd, fd->fd, 0), reader = -1;
    if (source < 0) {
        result = -errno;
        goto out;
    }
    long size = fcntl(source, F_GETPIPE_SZ);
    fd->pipe_size = size > 0 ? (uint64_t)size : 65536;
    /* A reading end of our own, whichever end this is. */
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", source);
    reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (reader < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
        result = -errno;
        goto out;
    }
    if (fcntl(ends[1], F_SETPIPE_SZ, (int)fd->pipe_size) < 0) {
        result = -errno;
        goto out;
    }
    fd->bytes = malloc(fd->pipe_size);
    ssize_t copied = fd->bytes ? tee(reader, ends[1], fd->pipe_size, SPLICE_F_NONBLOCK) : 0;
    if (copied > 0) {
        ssize_t got = read(ends[0], fd->bytes, fd->pipe_size);
        fd->bytes_length = got > 0 ? (size_t)got : 0;
    }
    if (!fd->bytes)
        result = -ENOMEM;
out:
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    if (reader >= 0)
        close(reader);
    if (source >= 0)
        close(source);
    close(pidfd);
    return result;
}

static int dump_file(struct remote *remote, const struct engine_capsule *capsule, struct fd_image *fd) {
    int64_t value = REMOTE_CALL(remote, SYS_fsync, fd->fd);
    if (value)
        return (int)value;
    return capsule->probe_take(capsule->files, &fd->nodeid, &fd->handle);
}

int fds_dump(const struct tracee *tracee, struct remote *remote, const struct engine_capsule *capsule,
             struct process_image *image, struct stay_reasons *reasons) {
    pid_t pid = tracee->pid, shown_pid = tracee->threads[0].inner_tid;
    int *list, count = list_fds(pid, &list), result = 0;
    if (count < 0)
        return count;
    image->fds = calloc((size_t)count + 1, sizeof *image->fds);
    if (!image->fds) {
        free(list);
        return -ENOMEM;
    }
    if (count > PROCESS_MAX_FDS)
        result = -E2BIG;
    if (!result)
        result = capsule->probe(capsule->files, true);
    for (int i = 0; i < count && !result; i++) {
        struct fd_facts facts;
        enum fd_kind kind = FD_KIND_DEVICE;
        struct fd_image fd = {.fd = list[i], .same_as = -1};
        if ((result = read_facts(pid, list[i], &facts)))
            break;
        if (!classify(shown_pid, &facts, capsule, reasons, &kind, &fd.index)) {
            result = -EOPNOTSUPP;
            break;
        }
        fd.kind = kind;
        fd.flags = (uint32_t)facts.flags & (KEPT_FLAGS | PATH_FLAG | (kind == FD_KIND_PIPE ? O_DIRECT : 0));
        fd.close_on_exec = (facts.flags & CLOEXEC_FLAG) != 0;
        fd.position = facts.position;
        fd.inode = facts.inode;
        fd.same_as = find_same(pid, image, &fd);
        fd.path = strdup(facts.target);
        image->fds[image->fd_count++] = fd;
        struct fd_image *kept = &image->fds[image->fd_count - 1];
        if (!kept->path)
            result = -ENOMEM;
        else if (kind == FD_KIND_PIPE && kept->same_as < 0)
            result = dump_pipe(pid, image, kept);
        else if (kind == FD_KIND_FILE && kept->same_as < 0 && (result = dump_file(remote, capsule, kept)) &&
                 result != -EPROTO) {
            stay_because(reasons, shown_pid, "file", "descriptor %d (%s) has no handle at home: %s", kept->fd,
                         kept->path, strerror(-result));
            result = -EOPNOTSUPP;
        }
    }
    int off = capsule->probe(capsule->files, false);
    free(list);
    return result ? result : off;
}

static int64_t remote_open(struct remote *remote, const char *path, unsigned flags) {
    size_t length = strlen(path) + 1;
    int result = length > MAPS_MAX_PATH ? -ENAMETOOLONG : remote_write(remote, remote->data, path, length);
    return result ? result : REMOTE_CALL(remote, SYS_openat, (uint64_t)AT_FDCWD, remote->data.addr, flags, 0);
}

static int64_t open_file(struct remote *remote, const struct engine_capsule *capsule, const struct fd_image *fd) {
    int result = capsule->adopt(capsule->files, fd->nodeid, fd->handle);
    if (result)
        return result;
    int64_t opened = remote_open(remote, fd->path, fd->flags & ~CLOEXEC_FLAG);
    if (opened < 0)
        return opened;
    int64_t synced = REMOTE_CALL(remote, SYS_fsync, opened);
    uint64_t nodeid = 0, handle = 0;
    if (synced)
        return synced;
    if ((result = capsule->probe_take(capsule->files, &nodeid, &handle)))
        return result;
    if (nodeid != fd->nodeid || handle != fd->handle)
        return -ESTALE; /* the name at home stands for another file by now */
    int64_t position = REMOTE_CALL(remote, SYS_lseek, opened, fd->position, SEEK_SET);
    return position == (int64_t)fd->position ? opened : position < 0 ? position : -EIO;
}

/* Both ends of a pipe of the task's own, for the descriptors that have them. */
static int64_t open_pipe(struct remote *remote, const struct process_image *image, const struct fd_image *fd,
                         const int32_t *high, int64_t *other) {
    (void)high;
    int64_t made = REMOTE_CALL(remote, SYS_pipe2, remote->data.addr, fd->flags & O_DIRECT);
    int32_t ends[2];
    int result = made < 0 ? (int)made : remote_read(remote, remote->data, ends, sizeof ends);
    if (result)
        return result;
    if (fd->pipe_size && fd->pipe_size != 65536) {
        int64_t set = REMOTE_CALL(remote, SYS_fcntl, ends[1], F_SETPIPE_SZ, fd->pipe_size);
        if (set < 0)
            return set;
    }
    for (size_t done = 0; done < fd->bytes_length;) {
        size_t part = fd->bytes_length - done;
        if (part > 65536)
            part = 65536;
        if ((result = remote_write(remote, remote->data, fd->bytes + done, part)))
            return result;
        int64_t put = REMOTE_CALL(remote, SYS_write, ends[1], remote->data.addr, part);
        if (put <= 0)
            return put ? put : -EIO;
        done += (size_t)put;
    }
    (void)image;
    bool writes = (fd->flags & O_ACCMODE) != O_RDONLY;
    *other = ends[writes ? 0 : 1];
    return ends[writes ? 1 : 0];
}

static int set_flags(struct remote *remote, int64_t opened, const struct fd_image *fd) {
    int64_t set = REMOTE_CALL(remote, SYS_fcntl, opened, F_SETFL, fd->flags & (O_APPEND | O_NONBLOCK | O_DIRECT));
    return set < 0 ? (int)set : 0;
}

int fds_restore(struct remote *remote, const struct engine_capsule *capsule, const struct process_image *image) {
    /* Everything is opened at high numbers first (the standard ends wait at 0, 1, 2), then put in place. */
    int32_t top = 3;
    for (size_t i = 0; i < image->fd_count; i++)
        if (image->fds[i].fd >= top)
            top = image->fds[i].fd + 1;
    int32_t *high = malloc((image->fd_count + 1) * sizeof *high);
    struct {
        uint64_t inode;
        int32_t reads, writes;
    } *pipes = calloc(image->fd_count + 1, sizeof *pipes);
    size_t pipe_count = 0;
    int result = high && pipes ? 0 : -ENOMEM;
    if (!result)
        result = capsule->probe(capsule->files, true);
    for (size_t i = 0; i < image->fd_count && !result; i++) {
        const struct fd_image *fd = &image->fds[i];
        int64_t opened = -1;
        bool keep = false; /* the opened descriptor is used again */
        high[i] = -1;
        if (fd->same_as >= 0)
            continue;
        switch (fd->kind) {
        case FD_KIND_STDIO:
            opened = fd->index;
            keep = true;
            break;
        case FD_KIND_TERMINAL:
            opened = remote_open(remote, "/dev/pts/0", (fd->flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY);
            break;
        case FD_KIND_FILE:
            opened = open_file(remote, capsule, fd);
            break;
        case FD_KIND_DEVICE:
        case FD_KIND_PATH:
            opened = remote_open(remote, fd->path, fd->flags & ~CLOEXEC_FLAG);
            break;
        case FD_KIND_PIPE: {
            size_t p = 0;
            while (p < pipe_count && pipes[p].inode != fd->inode)
                p++;
            bool writes = (fd->flags & O_ACCMODE) != O_RDONLY;
            keep = true;
            if (p == pipe_count) {
                int64_t other = -1;
                opened = open_pipe(remote, image, fd, high, &other);
                if (opened >= 0) {
                    int64_t up = REMOTE_CALL(remote, SYS_fcntl, opened, F_DUPFD_CLOEXEC, top);
                    int64_t other_up = REMOTE_CALL(remote, SYS_fcntl, other, F_DUPFD_CLOEXEC, top);
                    (void)REMOTE_CALL(remote, SYS_close, opened);
                    (void)REMOTE_CALL(remote, SYS_close, other);
                    if (up < 0 || other_up < 0) {
                        result = -EMFILE;
                        break;
                    }
                    pipes[pipe_count].inode = fd->inode;
                    pipes[pipe_count].reads = (int32_t)(writes ? other_up : up);
                    pipes[pipe_count++].writes = (int32_t)(writes ? up : other_up);
                    opened = up;
                }
            } else {
                /* Two open files of one end, made by opening /proc/self/fd: joined into one is what dup would give. */
                opened = writes ? pipes[p].writes : pipes[p].reads;
            }
            break;
        }
        default:
            opened = -EINVAL;
        }
        if (!result && opened < 0)
            result = (int)opened;
        if (result)
            break;
        int64_t up = REMOTE_CALL(remote, SYS_fcntl, opened, F_DUPFD_CLOEXEC, top);
        if (!keep)
            (void)REMOTE_CALL(remote, SYS_close, opened);
        if (up < 0)
            result = (int)up;
        else if (!(fd->flags & PATH_FLAG))
            result = set_flags(remote, up, fd);
        high[i] = (int32_t)up;
    }
    if (!result)
        for (int i = 0; i < 3; i++)
            (void)REMOTE_CALL(remote, SYS_close, i);
    for (size_t i = 0; i < image->fd_count && !result; i++) {
        const struct fd_image *fd = &image->fds[i];
        int32_t from = high[i];
        for (size_t k = 0; k < i && fd->same_as >= 0; k++)
            if (image->fds[k].fd == fd->same_as)
                from = high[k];
        int64_t placed = REMOTE_CALL(remote, SYS_dup3, from, fd->fd, fd->close_on_exec ? O_CLOEXEC : 0);
        if (placed < 0)
            result = (int)placed;
    }
    if (!result) {
        int64_t closed = REMOTE_CALL(remote, SYS_close_range, top, ~0u, 0);
        result = (int)closed;
    }
    int off = high && pipes ? capsule->probe(capsule->files, false) : 0;
    free(high);
    free(pipes);
    return result ? result : off;
}
