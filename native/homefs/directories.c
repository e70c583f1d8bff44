/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading directories.
 *
 * Theory of operation. Offsets are those of home's own file system, which stay right while names come and go, and over
 * a change of host. Nothing is kept between two requests but where the descriptor stands. With READDIRPLUS every name
 * comes with its attributes, so that `ls -l` needs no further request.
 */
#include "homefs_private.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUFFER 32768

struct entry64 {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

static bool is_dots(const char *name) {
    return !strcmp(name, ".") || !strcmp(name, "..");
}

static void put_name(struct request *request, const struct fuse_dirent *entry, const char *name) {
    static const uint8_t zeros[8];
    put(request, entry, sizeof *entry);
    put(request, name, entry->namelen);
    put(request, zeros, FUSE_DIRENT_ALIGN(sizeof *entry + entry->namelen) - sizeof *entry - entry->namelen);
}

/* False when it does not fit any more. */
static bool add(struct request *request, const struct entry64 *found, size_t limit, bool plus) {
    struct homefs *homefs = request->homefs;
    struct fuse_dirent entry = {.ino = nodes_inode(&homefs->nodes, request->node->dev, found->d_ino),
                                .off = (uint64_t)found->d_off,
                                .namelen = (uint32_t)strlen(found->d_name),
                                .type = found->d_type};
    size_t length = FUSE_DIRENT_ALIGN(sizeof entry + entry.namelen) + (plus ? sizeof(struct fuse_entry_out) : 0);
    if (request->out_length + length > limit)
        return false;
    if (plus) {
        struct fuse_entry_out out = {0};
        struct statx status;
        struct node *node;
        if (!is_dots(found->d_name) &&
            nodes_lookup(&homefs->nodes, request->node, found->d_name, &node, &status) == 0) {
            entry_of(request, node, &status, &out);
            entry.ino = out.attr.ino;
            entry.type = (status.stx_mode & S_IFMT) >> 12;
        }
        put(request, &out, sizeof out);
    }
    put_name(request, &entry, found->d_name);
    return true;
}

static int read_directory(struct request *request, bool plus) {
    struct fuse_read_in in;
    _Alignas(struct entry64) char buffer[BUFFER];
    if (!take(request, &in, sizeof in) || in.offset > INT64_MAX)
        return -EINVAL;
    struct handle *handle = handle_get(request->homefs, request->slot, in.fh);
    if (!handle || !handle->directory || handle->node != request->node)
        return -EBADF;
    size_t limit = in.size < request->room ? in.size : request->room;
    off_t wanted = (off_t)in.offset;
    if (wanted == 0)
        directory_listed(request->node, request->slot);
    for (;;) {
        if (handle->position != wanted && lseek(handle->fd, wanted, SEEK_SET) < 0)
            return -errno;
        handle->position = wanted;
        /* Not more than is likely to fit: what does not is read again. */
        size_t room = limit - request->out_length;
        long length = syscall(SYS_getdents64, handle->fd, buffer, room < BUFFER ? (room < 512 ? 512 : room) : BUFFER);
        if (length < 0)
            return request->out_length ? 0 : -errno;
        if (length == 0)
            return 0;
        handle->position = -1;
        for (long at = 0; at < length;) {
            const struct entry64 *found = (const struct entry64 *)(buffer + at);
            if (!add(request, found, limit, plus))
                return 0;
            wanted = found->d_off;
            at += found->d_reclen;
        }
        handle->position = wanted;
    }
}

int op_readdir(struct request *request) {
    return read_directory(request, false);
}

int op_readdirplus(struct request *request) {
    return read_directory(request, true);
}
