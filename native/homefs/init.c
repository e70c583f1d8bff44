/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. No default_permissions: home decides who may do what. No write-back cache: what the task has
 * written is at home when write(2) returns, so nothing is to be flushed before a move. DONT_MASK: home applies the
 * umask that comes with a request. AUTO_INVAL_DATA: cached pages are dropped when size or mtime change.
 * HANDLE_KILLPRIV_V2: home's kernel takes set-user-id bits from what is written to, as it does for a local process of
 * this user; otherwise the kernel here asks for an attribute before each write.
 */
#include "init.h"
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>

size_t homefs_init_reply(const void *request, size_t length, void *out, size_t capacity) {
    struct fuse_in_header header;
    struct fuse_init_in in = {0};
    if (length < sizeof header + offsetof(struct fuse_init_in, flags2))
        return 0;
    memcpy(&header, request, sizeof header);
    size_t body = length - sizeof header;
    memcpy(&in, (const char *)request + sizeof header, body < sizeof in ? body : sizeof in);
    struct {
        struct fuse_out_header header;
        struct fuse_init_out init;
    } reply = {0};
    if (header.opcode != FUSE_INIT || in.major != FUSE_KERNEL_VERSION || in.minor < 31 || capacity < sizeof reply)
        return 0;
    const uint32_t wanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |
                            FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS |
                            FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2;
    reply.header.len = sizeof reply;
    reply.header.unique = header.unique;
    reply.init.major = FUSE_KERNEL_VERSION;
    reply.init.minor = 31;
    reply.init.max_readahead = HOMEFS_MAX_TRANSFER;
    reply.init.flags = in.flags & wanted;
    reply.init.max_background = 64;
    reply.init.congestion_threshold = 48;
    reply.init.max_write = HOMEFS_MAX_TRANSFER;
    reply.init.time_gran = 1;
    reply.init.max_pages = HOMEFS_MAX_TRANSFER / 4096;
    memcpy(out, &reply, sizeof reply);
    return sizeof reply;
}
