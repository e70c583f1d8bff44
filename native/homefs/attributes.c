/* SPDX-License-Identifier: Apache-2.0
 *
 * Attributes of files.
 *
 * Theory of operation. Everything is shown as it is at home, except owners when the capsule maps a single id: a kernel
 * refuses to write to a file whose owner it can't map, so every file is shown as the user's own. Home still decides
 * what is allowed.
 */
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

void attributes_of(struct homefs *homefs, const struct statx *status, struct fuse_attr *attr) {
    dev_t dev = makedev(status->stx_dev_major, status->stx_dev_minor);
    *attr = (struct fuse_attr){
        .ino = nodes_inode(&homefs->nodes, dev, status->stx_ino),
        .size = status->stx_size,
        .blocks = status->stx_blocks,
        .atime = (uint64_t)status->stx_atime.tv_sec,
        .mtime = (uint64_t)status->stx_mtime.tv_sec,
        .ctime = (uint64_t)status->stx_ctime.tv_sec,
        .atimensec = status->stx_atime.tv_nsec,
        .mtimensec = status->stx_mtime.tv_nsec,
        .ctimensec = status->stx_ctime.tv_nsec,
        .mode = status->stx_mode,
        .nlink = status->stx_nlink,
        .uid = homefs->config.single_id ? homefs->config.shown_uid : status->stx_uid,
        .gid = homefs->config.single_id ? homefs->config.shown_gid : status->stx_gid,
        /* The kernel's own packing: 12 bits of major in the middle, as new_encode_dev does. */
        .rdev =
            (status->stx_rdev_minor & 0xff) | (status->stx_rdev_major << 8) | ((status->stx_rdev_minor & ~0xffu) << 12),
        .blksize = status->stx_blksize,
    };
}

/* How long a kernel may believe the attributes of what is in `directory`. */
static uint32_t valid_seconds(struct node *node, struct node *directory, const struct statx *status) {
    bool watched = false;
    if (S_ISDIR(status->stx_mode))
        watched = watch_is_on(node);
    else if (directory && status->stx_nlink == 1 && node->dev == directory->dev && node->mount == directory->mount)
        watched = watch_is_on(directory);
    return watched ? LONG_SECONDS : SHORT_SECONDS;
}

void entry_of(struct request *request, struct node *node, const struct statx *status, struct fuse_entry_out *entry) {
    node->lookups[request->slot]++;
    node_told(node, request->slot, status);
    *entry = (struct fuse_entry_out){.nodeid = node->id,
                                     .entry_valid = watch_is_on(request->node) ? LONG_SECONDS : SHORT_SECONDS,
                                     .attr_valid = valid_seconds(node, request->node, status)};
    attributes_of(request->homefs, status, &entry->attr);
}

int reply_entry(struct request *request, struct node *parent, const char *name) {
    struct fuse_entry_out entry;
    struct statx status;
    struct node *node;
    int result = nodes_lookup(&request->homefs->nodes, parent, name, &node, &status);
    if (result)
        return result;
    entry_of(request, node, &status, &entry);
    put(request, &entry, sizeof entry);
    return 0;
}

int op_lookup(struct request *request) {
    const char *name;
    if (!take_name(request, &name))
        return -EINVAL;
    bool watched = watch(request->homefs, request->node);
    int result = reply_entry(request, request->node, name);
    if (result == -ENOENT) {
        /* That it is not there may be believed for as long. */
        const struct fuse_entry_out nothing = {.entry_valid = watched ? LONG_SECONDS : SHORT_SECONDS};
        put(request, &nothing, sizeof nothing);
        return 0;
    }
    return result;
}

/* A file may have left the directory that it was found in, which would tell of its changes. */
static bool is_in_place(struct request *request) {
    struct node *found;
    struct statx status;
    struct node *node = request->node;
    return !S_ISDIR(node->kind) && node->parent && node->parent->watch &&
           nodes_known(&request->homefs->nodes, node->parent, node->name, &found, &status) == 0 && found == node;
}

static int reply_attr(struct request *request, const struct statx *status) {
    struct node *node = request->node;
    struct node *directory = is_in_place(request) ? node->parent : NULL;
    struct fuse_attr_out out = {.attr_valid = valid_seconds(node, directory, status)};
    node_told(node, request->slot, status);
    attributes_of(request->homefs, status, &out.attr);
    put(request, &out, sizeof out);
    return 0;
}

int op_getattr(struct request *request) {
    struct statx status;
    int result = node_status(&request->homefs->nodes, request->node, &status);
    return result ? result : reply_attr(request, &status);
}

static int set_owner(struct request *request, int fd, const struct fuse_setattr_in *in) {
    const struct homefs_config *config = &request->homefs->config;
    uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
    gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
    /* To what it is shown as already: nothing changes, whoever owns it. */
    if (config->single_id && (uid == (uid_t)-1 || uid == config->shown_uid) &&
        (gid == (gid_t)-1 || gid == config->shown_gid))
        return 0;
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

static int set_size(struct request *request, const struct fuse_setattr_in *in) {
    struct handle *handle = in->valid & FATTR_FH ? handle_get(request->homefs, request->slot, in->fh) : NULL;
    char path[48];
    if (in->size > INT64_MAX)
        return -EFBIG;
    if (handle && ftruncate(handle->fd, (off_t)in->size) == 0)
        return 0;
    if (handle && errno != EINVAL && errno != EBADF)
        return -errno;
    int result = node_path(request->homefs, request->node, path);
    return result ? result : truncate(path, (off_t)in->size) ? -errno : 0;
}

static int set_times(int fd, const struct fuse_setattr_in *in) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    if (in->valid & FATTR_ATIME_NOW)
        times[0].tv_nsec = UTIME_NOW;
    else if (in->valid & FATTR_ATIME)
        times[0] = (struct timespec){(time_t)in->atime, in->atimensec};
    if (in->valid & FATTR_MTIME_NOW)
        times[1].tv_nsec = UTIME_NOW;
    else if (in->valid & FATTR_MTIME)
        times[1] = (struct timespec){(time_t)in->mtime, in->mtimensec};
    return syscall(SYS_utimensat, fd, "", times, AT_EMPTY_PATH) ? -errno : 0;
}

int op_setattr(struct request *request) {
    struct fuse_setattr_in in;
    struct statx status;
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    int fd = node_fd(&request->homefs->nodes, request->node);
    if (fd < 0)
        return fd;
    int result = 0;
    if (in.valid & (FATTR_UID | FATTR_GID))
        result = set_owner(request, fd, &in);
    if (!result && in.valid & FATTR_MODE)
        result = syscall(SYS_fchmodat2, fd, "", in.mode & 07777, AT_EMPTY_PATH) ? -errno : 0;
    if (!result && in.valid & FATTR_SIZE)
        result = set_size(request, &in);
    if (!result && in.valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW))
        result = set_times(fd, &in);
    if (!result)
        result = node_status(&request->homefs->nodes, request->node, &status);
    return result ? result : reply_attr(request, &status);
}

int op_access(struct request *request) {
    struct fuse_access_in in;
    if (!take(request, &in, sizeof in) || in.mask > 7)
        return -EINVAL;
    int fd = node_fd(&request->homefs->nodes, request->node);
    if (fd < 0)
        return fd;
    return syscall(SYS_faccessat2, fd, "", in.mask, AT_EMPTY_PATH | AT_EACCESS) ? -errno : 0;
}
