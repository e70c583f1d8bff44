/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. Requests of the kernel on a task's host arrive as they are and are answered as the kernel wants
 * them (linux/fuse.h), so that nothing is lost in a translation. Each is done at once, by doing the same to home's own
 * files with the rights of this process, the user: home's kernel is the only one that says what is allowed.
 *
 * FLUSH is answered ENOSYS: what the task has written is at home already, and without it a close costs no round trip.
 * Locks are not taken over: they hold among the processes of the task.
 */
#include "../common/protocol.h"
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
    operation *function;
    bool changes; /* home: refused to who may only look */
};

static const struct entry operations[] = {
    [FUSE_LOOKUP] = {op_lookup, false},
    [FUSE_GETATTR] = {op_getattr, false},
    [FUSE_SETATTR] = {op_setattr, true},
    [FUSE_READLINK] = {op_readlink, false},
    [FUSE_SYMLINK] = {op_symlink, true},
    [FUSE_MKNOD] = {op_mknod, true},
    [FUSE_MKDIR] = {op_mkdir, true},
    [FUSE_UNLINK] = {op_unlink, true},
    [FUSE_RMDIR] = {op_rmdir, true},
    [FUSE_RENAME] = {op_rename, true},
    [FUSE_LINK] = {op_link, true},
    [FUSE_OPEN] = {op_open, false},
    [FUSE_READ] = {op_read, false},
    [FUSE_WRITE] = {op_write, true},
    [FUSE_STATFS] = {op_statfs, false},
    [FUSE_RELEASE] = {op_release, false},
    [FUSE_FSYNC] = {op_fsync, false},
    [FUSE_SETXATTR] = {op_setxattr, true},
    [FUSE_GETXATTR] = {op_getxattr, false},
    [FUSE_LISTXATTR] = {op_listxattr, false},
    [FUSE_REMOVEXATTR] = {op_removexattr, true},
    [FUSE_OPENDIR] = {op_opendir, false},
    [FUSE_READDIR] = {op_readdir, false},
    [FUSE_RELEASEDIR] = {op_releasedir, false},
    [FUSE_FSYNCDIR] = {op_fsyncdir, false},
    [FUSE_ACCESS] = {op_access, false},
    [FUSE_CREATE] = {op_create, true},
    [FUSE_FALLOCATE] = {op_fallocate, true},
    [FUSE_READDIRPLUS] = {op_readdirplus, false},
    [FUSE_RENAME2] = {op_rename2, true},
    [FUSE_LSEEK] = {op_lseek, false},
    [FUSE_COPY_FILE_RANGE] = {op_copy_file_range, true},
};
static const struct entry adopt = {op_adopt, false};

static const struct entry *find(uint32_t opcode) {
    if (opcode == DP_FUSE_ADOPT)
        return &adopt;
    if (opcode >= sizeof operations / sizeof *operations || !operations[opcode].function)
        return NULL;
    return &operations[opcode];
}

static void forget(struct request *request) {
    struct fuse_forget_in one;
    struct fuse_batch_forget_in many;
    struct fuse_forget_one each;
    struct nodes *nodes = &request->homefs->nodes;
    if (request->in.opcode == FUSE_FORGET) {
        struct node *node = nodes_get(nodes, request->in.nodeid);
        if (node && take(request, &one, sizeof one))
            node_forget(nodes, node, request->slot, one.nlookup);
    } else if (take(request, &many, sizeof many)) {
        for (uint32_t i = 0; i < many.count && take(request, &each, sizeof each); i++) {
            struct node *node = nodes_get(nodes, each.nodeid);
            if (node)
                node_forget(nodes, node, request->slot, each.nlookup);
        }
    }
}

static int serve(struct request *request) {
    const struct entry *entry = find(request->in.opcode);
    const struct session_files *session = &request->homefs->sessions[request->slot];
    if (!entry)
        return -ENOSYS;
    if (!session->begun)
        return -EIO;
    if (entry->changes && !session->writable)
        return -EROFS;
    request->node = nodes_get(&request->homefs->nodes, request->in.nodeid);
    if (!request->node)
        return -ESTALE;
    if (!entry->changes)
        return entry->function(request);
    request->own.slot = request->slot;
    watches_tell(request->homefs, NULL);
    int result = entry->function(request);
    if (request->own.count > 0)
        watches_tell(request->homefs, &request->own);
    return result;
}

size_t homefs_handle(struct homefs *homefs, int slot, const void *bytes, size_t length, void *reply, size_t capacity) {
    struct request request = {.homefs = homefs, .slot = slot};
    struct fuse_out_header out = {0};
    if (length < sizeof request.in || capacity < sizeof out + 4096 || slot < 0 || slot >= HOMEFS_SESSIONS)
        return 0;
    memcpy(&request.in, bytes, sizeof request.in);
    request.body = (const uint8_t *)bytes + sizeof request.in;
    request.length = length - sizeof request.in;
    request.out = (uint8_t *)reply + sizeof out;
    request.room = capacity - sizeof out;
    if (request.in.opcode == FUSE_FORGET || request.in.opcode == FUSE_BATCH_FORGET) {
        forget(&request);
        return 0;
    }
    if (request.in.opcode == FUSE_INTERRUPT || request.in.opcode == FUSE_DESTROY)
        return 0;
    int result = request.in.len == length ? serve(&request) : -EINVAL;
    out.unique = request.in.unique;
    out.error = result;
    out.len = (uint32_t)(sizeof out + (result ? 0 : request.out_length));
    memcpy(reply, &out, sizeof out);
    return out.len;
}

void homefs_session_begin(struct homefs *homefs, int slot) {
    homefs_session_end(homefs, slot);
    homefs->sessions[slot].begun = true;
}

void homefs_session_end(struct homefs *homefs, int slot) {
    if (!homefs->sessions[slot].begun)
        return;
    handles_end_session(homefs, slot);
    nodes_forget_session(&homefs->nodes, slot);
    memset(&homefs->sessions[slot], 0, sizeof homefs->sessions[slot]);
}

void homefs_session_writable(struct homefs *homefs, int slot, bool writable) {
    homefs->sessions[slot].writable = writable;
}

void homefs_session_recall(struct homefs *homefs, int slot) {
    watches_recall(homefs, slot);
}

int homefs_poll_fd(struct homefs *homefs) {
    return watches_fd(homefs->nodes.watches);
}

void homefs_poll(struct homefs *homefs) {
    watches_tell(homefs, NULL);
}

int homefs_new(const struct homefs_config *config, struct homefs **out) {
    struct homefs *homefs = calloc(1, sizeof *homefs);
    if (!homefs)
        return -ENOMEM;
    homefs->config = *config;
    homefs->journal.fd = -1;
    homefs->descriptors = openat(config->proc, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = homefs->descriptors < 0 || fchdir(config->proc) ? -errno : nodes_init(&homefs->nodes, config->root);
    if (result) {
        homefs_free(homefs);
        return result;
    }
    homefs->nodes.watches = watches_new();
    homefs->nodes.journal = &homefs->journal;
    *out = homefs;
    return 0;
}

void homefs_free(struct homefs *homefs) {
    if (homefs->nodes.by_id)
        handles_free(homefs);
    nodes_free(&homefs->nodes);
    watches_free(homefs->nodes.watches);
    if (homefs->journal.fd >= 0)
        close(homefs->journal.fd);
    if (homefs->descriptors >= 0)
        close(homefs->descriptors);
    free(homefs);
}
