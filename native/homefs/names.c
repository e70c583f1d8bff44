/* SPDX-License-Identifier: Apache-2.0
 *
 * Making, removing and renaming.
 *
 * Theory of operation. The mask of the task comes with each request (FUSE_DONT_MASK) and is set for the one call, so
 * that home's kernel applies it, or the directory's default access list instead, as it would to a local process.
 */
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/xattr.h>
#include <unistd.h>

static int parent_fd(struct request *request) {
    return node_fd(&request->homefs->nodes, request->node);
}

int op_readlink(struct request *request) {
    int fd = parent_fd(request);
    if (fd < 0)
        return fd;
    size_t room = request->room < 4096 ? request->room : 4096;
    ssize_t length = readlinkat(fd, "", (char *)request->out, room);
    if (length < 0)
        return errno == ENOENT ? -EINVAL : -errno;
    request->out_length = (size_t)length;
    return 0;
}

int op_symlink(struct request *request) {
    const char *name, *target;
    if (!take_name(request, &name) || !take_text(request, &target))
        return -EINVAL;
    int fd = parent_fd(request);
    if (fd < 0)
        return fd;
    own_change(request, request->node, name, IN_CREATE);
    return symlinkat(target, fd, name) ? -errno : reply_entry(request, request->node, name);
}

int op_mknod(struct request *request) {
    struct fuse_mknod_in in;
    const char *name;
    if (!take(request, &in, sizeof in) || !take_name(request, &name))
        return -EINVAL;
    /* A device node would be one of home's hardware. */
    if (!S_ISREG(in.mode) && !S_ISFIFO(in.mode) && !S_ISSOCK(in.mode))
        return -EPERM;
    int fd = parent_fd(request);
    if (fd < 0)
        return fd;
    own_change(request, request->node, name, IN_CREATE);
    mode_t before = umask(in.umask & 0777);
    int result = mknodat(fd, name, in.mode & (S_IFMT | 07777), 0) ? -errno : 0;
    umask(before);
    return result ? result : reply_entry(request, request->node, name);
}

int op_mkdir(struct request *request) {
    struct fuse_mkdir_in in;
    const char *name;
    if (!take(request, &in, sizeof in) || !take_name(request, &name))
        return -EINVAL;
    int fd = parent_fd(request);
    if (fd < 0)
        return fd;
    own_change(request, request->node, name, IN_CREATE);
    mode_t before = umask(in.umask & 0777);
    int result = mkdirat(fd, name, in.mode & 07777) ? -errno : 0;
    umask(before);
    return result ? result : reply_entry(request, request->node, name);
}

static int remove_name(struct request *request, int flags) {
    const char *name;
    if (!take_name(request, &name))
        return -EINVAL;
    int fd = parent_fd(request);
    if (fd < 0)
        return fd;
    own_change(request, request->node, name, IN_DELETE);
    return unlinkat(fd, name, flags) ? -errno : 0;
}

int op_unlink(struct request *request) {
    return remove_name(request, 0);
}

int op_rmdir(struct request *request) {
    return remove_name(request, AT_REMOVEDIR);
}

static int rename_to(struct request *request, uint64_t target, unsigned flags) {
    const char *name, *new_name;
    struct nodes *nodes = &request->homefs->nodes;
    struct node *new_parent = nodes_get(nodes, target);
    if (!new_parent)
        return -ESTALE;
    if (!take_name(request, &name) || !take_name(request, &new_name) || flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    int new_fd = node_fd(nodes, new_parent);
    int fd = new_fd < 0 ? new_fd : node_fd(nodes, request->node);
    if (fd < 0)
        return fd;
    new_fd = node_fd(nodes, new_parent); /* still there: the list of descriptors is longer than two */
    if (new_fd < 0)
        return new_fd;
    own_change(request, request->node, name, IN_MOVED_FROM);
    own_change(request, new_parent, new_name, IN_MOVED_TO);
    if (flags & RENAME_EXCHANGE) {
        own_change(request, request->node, name, IN_MOVED_TO);
        own_change(request, new_parent, new_name, IN_MOVED_FROM);
    }
    if (renameat2(fd, name, new_fd, new_name, flags))
        return -errno;
    nodes_moved(nodes, new_parent, new_name);
    if (flags & RENAME_EXCHANGE)
        nodes_moved(nodes, request->node, name);
    return 0;
}

int op_rename(struct request *request) {
    struct fuse_rename_in in;
    return take(request, &in, sizeof in) ? rename_to(request, in.newdir, 0) : -EINVAL;
}

int op_rename2(struct request *request) {
    struct fuse_rename2_in in;
    return take(request, &in, sizeof in) ? rename_to(request, in.newdir, in.flags) : -EINVAL;
}

int op_link(struct request *request) {
    struct fuse_link_in in;
    const char *name;
    char path[48];
    if (!take(request, &in, sizeof in) || !take_name(request, &name))
        return -EINVAL;
    struct node *node = nodes_get(&request->homefs->nodes, in.oldnodeid);
    if (!node)
        return -ESTALE;
    int result = node_path(request->homefs, node, path);
    int fd = result ? result : parent_fd(request);
    if (fd < 0)
        return fd;
    own_change(request, request->node, name, IN_CREATE);
    return linkat(AT_FDCWD, path, fd, name, AT_SYMLINK_FOLLOW) ? -errno : reply_entry(request, request->node, name);
}

/* --- extended attributes ------------------------------------------------------------------------------------------ */

int op_getxattr(struct request *request) {
    struct fuse_getxattr_in in;
    const char *name;
    char path[48];
    if (!take(request, &in, sizeof in) || !take_text(request, &name))
        return -EINVAL;
    int result = node_path(request->homefs, request->node, path);
    if (result)
        return result;
    size_t room = in.size < request->room ? in.size : request->room;
    ssize_t length = getxattr(path, name, in.size ? request->out : NULL, in.size ? room : 0);
    /* ls(1) asks for this one of each file, until a file system says that it has none. */
    if (length < 0 && errno == ENODATA && !strcmp(name, "security.selinux"))
        return -EOPNOTSUPP;
    if (length < 0)
        return -errno;
    if (in.size) {
        request->out_length = (size_t)length;
    } else {
        const struct fuse_getxattr_out out = {.size = (uint32_t)length};
        put(request, &out, sizeof out);
    }
    return 0;
}

int op_listxattr(struct request *request) {
    struct fuse_getxattr_in in;
    char path[48];
    if (!take(request, &in, sizeof in))
        return -EINVAL;
    int result = node_path(request->homefs, request->node, path);
    if (result)
        return result;
    size_t room = in.size < request->room ? in.size : request->room;
    ssize_t length = listxattr(path, in.size ? (char *)request->out : NULL, in.size ? room : 0);
    if (length < 0)
        return -errno;
    if (in.size) {
        request->out_length = (size_t)length;
    } else {
        const struct fuse_getxattr_out out = {.size = (uint32_t)length};
        put(request, &out, sizeof out);
    }
    return 0;
}

int op_setxattr(struct request *request) {
    /* FUSE_SETXATTR_EXT is not granted: the short form. */
    struct {
        uint32_t size, flags;
    } in;
    const char *name;
    char path[48];
    if (!take(request, &in, sizeof in) || !take_text(request, &name) || in.size > request->length)
        return -EINVAL;
    int result = node_path(request->homefs, request->node, path);
    if (result)
        return result;
    return setxattr(path, name, request->body, in.size, (int)in.flags) ? -errno : 0;
}

int op_removexattr(struct request *request) {
    const char *name;
    char path[48];
    if (!take_text(request, &name))
        return -EINVAL;
    int result = node_path(request->homefs, request->node, path);
    if (result)
        return result;
    return removexattr(path, name) ? -errno : 0;
}
