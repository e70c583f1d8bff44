/* SPDX-License-Identifier: Apache-2.0
 *
 * Open files: contents and what belongs to them.
 *
 * Theory of operation. Pages that a kernel has cached stay valid over a close and an open if the file is as it was when
 * this session last saw it when it opened it, its own writes apart (close-to-open consistency). What a kernel has
 * cached is never older than that. Files of pseudo file systems (/sys) are made as they are read and are never cached.
 * Everything is opened non-blocking: one thread serves the whole task.
 *
 * The kernel keeps the names of an unchanged directory (FOPEN_CACHE_DIR) only as long as it may believe the attributes
 * that came with them: later, a listing from its cache would be followed by a request for each name, while READDIRPLUS
 * brings everything at once.
 */
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#define KEPT_FLAGS (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME)
#define COPY_MOST (64u << 20) /* in one request: the others wait */

static bool is_pseudo(int fd) {
    static const long kinds[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC,    CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC,
                                 DEBUGFS_MAGIC,    TRACEFS_MAGIC,  SECURITYFS_MAGIC,    BPF_FS_MAGIC,
                                 SELINUX_MAGIC,    PSTOREFS_MAGIC, EFIVARFS_MAGIC,      BINFMTFS_MAGIC,
                                 0x62656570 /* configfs */};
    struct statfs status;
    if (fstatfs(fd, &status))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (status.f_type == kinds[i])
            return true;
    return false;
}

/* Whether the file is as this session last saw it; from now on it is seen as it is. */
static bool see(struct node *node, int slot, int fd) {
    struct node_seen *seen = &node->seen[slot];
    struct stat status;
    if (fstat(fd, &status)) {
        seen->valid = false;
        return false;
    }
    bool same = seen->valid && seen->size == status.st_size &&
                !memcmp(&seen->mtime, &status.st_mtim, sizeof seen->mtime) &&
                !memcmp(&seen->ctime, &status.st_ctim, sizeof seen->ctime);
    *seen = (struct node_seen){true, status.st_size, status.st_mtim, status.st_ctim};
    return same;
}

static uint32_t open_flags(struct node *node, int slot, int fd, bool directory) {
    if (is_pseudo(fd))
        return directory ? 0 : FOPEN_DIRECT_IO;
    if (directory) {
        bool same = see(node, slot, fd);
        return FOPEN_CACHE_DIR | (same && directory_is_known(node, slot) ? FOPEN_KEEP_CACHE : 0);
    }
    return see(node, slot, fd) ? FOPEN_KEEP_CACHE : 0;
}

/* Answers with a handle that was adopted for this node, if there is one. */
static bool open_adopted(struct request *request, bool directory) {
    struct session_files *session = &request->homefs->sessions[request->slot];
    struct handle *handle;
    if (session->adopt_node != request->node)
        return false;
    handle = handle_get(request->homefs, request->slot, session->adopt_fh);
    session->adopt_node = NULL;
    if (!handle || handle->directory != directory)
        return false;
    const struct fuse_open_out out = {.fh = session->adopt_fh,
                                      .open_flags = open_flags(handle->node, request->slot, handle->fd, directory)};
    put(request, &out, sizeof out);
    return true;
}

static int open_node(struct request *request, int flags, bool directory) {
    struct fuse_open_out out = {0};
    int fd = node_open(request->homefs, request->node, flags);
    if (fd < 0)
        return fd;
    out.open_flags = open_flags(request->node, request->slot, fd, directory);
    int result = handle_new(request->homefs, request->slot, request->node, fd, directory, flags & ~O_TRUNC, &out.fh);
    if (!result)
        put(request, &out, sizeof out);
    return result;
}

int op_open(struct request *request) {
    struct fuse_open_in in;
    struct statx status;
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    if (open_adopted(request, false))
        return 0;
    int flags = (int)in.flags;
    bool changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    if (changes && !request->homefs->sessions[request->slot].writable)
        return -EROFS;
    /* Never a device or a pipe: the kernel there opens its own. */
    int result = node_status(&request->homefs->nodes, request->node, &status);
    if (result)
        return result;
    node_check(request->homefs, request->node, request->slot, &status);
    if (!S_ISREG(status.stx_mode))
        return S_ISDIR(status.stx_mode) ? -EISDIR : -ENXIO;
    return open_node(request, (flags & (KEPT_FLAGS | O_TRUNC)), false);
}

int op_opendir(struct request *request) {
    struct fuse_open_in in;
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    (void)watch(request->homefs, request->node); /* it is going to be listed, and names looked up */
    return open_adopted(request, true) ? 0 : open_node(request, O_RDONLY | O_DIRECTORY, true);
}

int op_create(struct request *request) {
    struct fuse_create_in in;
    struct fuse_entry_out entry;
    struct fuse_open_out out = {0};
    struct statx status;
    struct node *node;
    const char *name;
    if (!take(request, &in, sizeof in) || !take_name(request, &name))
        return -EINVAL;
    struct nodes *nodes = &request->homefs->nodes;
    int directory = node_fd(nodes, request->node);
    if (directory < 0)
        return directory;
    int flags =
        ((int)in.flags & (KEPT_FLAGS | O_TRUNC | O_EXCL)) | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    own_change(request, request->node, name, IN_CREATE);
    mode_t before = umask(in.umask & 0777);
    int fd = openat(directory, name, flags, in.mode & 07777);
    int error = errno;
    umask(before);
    /* The kernel took the name for a free one. What came there meanwhile is not for this operation: ESTALE makes it
     * look again. */
    if (fd < 0)
        return error == ELOOP || error == ENXIO ? -ESTALE : -error;
    int result = nodes_lookup(nodes, request->node, name, &node, &status);
    struct stat opened;
    if (!result &&
        (!S_ISREG(status.stx_mode) || fstat(fd, &opened) || opened.st_ino != node->ino || opened.st_dev != node->dev))
        result = -ESTALE;
    if (result) {
        close(fd);
        return result;
    }
    out.open_flags = open_flags(node, request->slot, fd, false);
    entry_of(request, node, &status, &entry);
    result = handle_new(request->homefs, request->slot, node, fd, false, flags & KEPT_FLAGS, &out.fh);
    if (result) {
        node_forget(nodes, node, request->slot, 1);
        return result;
    }
    put(request, &entry, sizeof entry);
    put(request, &out, sizeof out);
    return 0;
}

static int release(struct request *request) {
    struct fuse_release_in in;
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    struct handle *handle = handle_get(request->homefs, request->slot, in.fh);
    if (!handle)
        return -EBADF;
    handle_release(request->homefs, request->slot, in.fh);
    return 0;
}

int op_release(struct request *request) {
    return release(request);
}

int op_releasedir(struct request *request) {
    return release(request);
}

/* The handle that a request names; NULL when it is none of this session's or of the other kind. */
static struct handle *file_of(struct request *request, uint64_t fh) {
    struct handle *handle = handle_get(request->homefs, request->slot, fh);
    return handle && !handle->directory ? handle : NULL;
}

int op_read(struct request *request) {
    struct fuse_read_in in;
    if (!take(request, &in, sizeof in) || in.size > HOMEFS_MAX_TRANSFER || in.size > request->room ||
        in.offset > INT64_MAX)
        return -EINVAL;
    struct handle *handle = file_of(request, in.fh);
    if (!handle)
        return -EBADF;
    ssize_t length;
    do
        length = pread(handle->fd, request->out, in.size, (off_t)in.offset);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    request->out_length = (size_t)length;
    return 0;
}

/* A page of a mapping goes where it belongs, through whichever descriptor the kernel took: also one that appends. */
static ssize_t write_at(int fd, const void *bytes, size_t size, off_t offset, bool page) {
    int flags = page ? fcntl(fd, F_GETFL) : 0;
    bool appends = flags >= 0 && flags & O_APPEND;
    ssize_t length;
    if (appends && fcntl(fd, F_SETFL, flags & ~O_APPEND))
        return -1;
    do
        length = pwrite(fd, bytes, size, offset);
    while (length < 0 && errno == EINTR);
    int error = errno;
    if (appends && fcntl(fd, F_SETFL, flags))
        return -1;
    errno = error;
    return length;
}

int op_write(struct request *request) {
    struct fuse_write_in in;
    if (!take(request, &in, sizeof in) || in.size > request->length || in.size > HOMEFS_MAX_TRANSFER ||
        in.offset > INT64_MAX)
        return -EINVAL;
    struct handle *handle = file_of(request, in.fh);
    if (!handle)
        return -EBADF;
    /* Its own write is none that a session has to be told of. */
    bool knows = handle->node->seen[request->slot].valid && see(handle->node, request->slot, handle->fd);
    ssize_t length = write_at(handle->fd, request->body, in.size, (off_t)in.offset, in.write_flags & FUSE_WRITE_CACHE);
    int error = errno;
    handle->node->seen[request->slot].valid = false;
    handle->node->told[request->slot] = 0; /* the kernel will ask */
    if (knows)
        (void)see(handle->node, request->slot, handle->fd);
    if (length < 0)
        return -error;
    const struct fuse_write_out out = {.size = (uint32_t)length};
    put(request, &out, sizeof out);
    return 0;
}

static int sync_handle(struct request *request) {
    struct fuse_fsync_in in;
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    struct handle *handle = handle_get(request->homefs, request->slot, in.fh);
    if (!handle)
        return -EBADF;
    return (in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(handle->fd) : fsync(handle->fd)) ? -errno : 0;
}

int op_fsync(struct request *request) {
    return sync_handle(request);
}

int op_fsyncdir(struct request *request) {
    return sync_handle(request);
}

int op_fallocate(struct request *request) {
    struct fuse_fallocate_in in;
    if (!take(request, &in, sizeof in) || in.offset > INT64_MAX || in.length > INT64_MAX)
        return -EINVAL;
    struct handle *handle = file_of(request, in.fh);
    if (!handle)
        return -EBADF;
    return fallocate(handle->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) ? -errno : 0;
}

int op_lseek(struct request *request) {
    struct fuse_lseek_in in;
    if (!take(request, &in, sizeof in) || (in.whence != SEEK_DATA && in.whence != SEEK_HOLE) || in.offset > INT64_MAX)
        return -EINVAL;
    struct handle *handle = file_of(request, in.fh);
    if (!handle)
        return -EBADF;
    off_t at = lseek(handle->fd, (off_t)in.offset, (int)in.whence);
    if (at < 0)
        return -errno;
    const struct fuse_lseek_out out = {.offset = (uint64_t)at};
    put(request, &out, sizeof out);
    return 0;
}

int op_copy_file_range(struct request *request) {
    struct fuse_copy_file_range_in in;
    if (!take(request, &in, sizeof in) || in.off_in > INT64_MAX || in.off_out > INT64_MAX)
        return -EINVAL;
    struct handle *from = file_of(request, in.fh_in), *to = file_of(request, in.fh_out);
    if (!from || !to)
        return -EBADF;
    off_t from_offset = (off_t)in.off_in, to_offset = (off_t)in.off_out;
    ssize_t length =
        copy_file_range(from->fd, &from_offset, to->fd, &to_offset, in.len < COPY_MOST ? in.len : COPY_MOST, 0);
    if (length < 0)
        return -errno;
    const struct fuse_write_out out = {.size = (uint32_t)length};
    put(request, &out, sizeof out);
    return 0;
}

int op_statfs(struct request *request) {
    struct fuse_statfs_out out = {0};
    struct statfs status;
    int fd = node_fd(&request->homefs->nodes, request->node);
    if (fd < 0)
        return fd;
    if (fstatfs(fd, &status))
        return -errno;
    out.st.blocks = status.f_blocks;
    out.st.bfree = status.f_bfree;
    out.st.bavail = status.f_bavail;
    out.st.files = status.f_files;
    out.st.ffree = status.f_ffree;
    out.st.bsize = (uint32_t)status.f_bsize;
    out.st.namelen = (uint32_t)status.f_namelen;
    out.st.frsize = (uint32_t)(status.f_frsize ? status.f_frsize : status.f_bsize);
    put(request, &out, sizeof out);
    return 0;
}
