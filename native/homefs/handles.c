/* SPDX-License-Identifier: Apache-2.0
 *
 * Open files and directories of home.
 *
 * Theory of operation. A handle is one open file description at home. Both sessions may hold it: the next host of a
 * task adopts what the present one has open, so that position-less I/O, locks and deleted files go on (native/common/
 * protocol.h). It is closed when the last hold is given back. A number is an index and a generation, so that an old
 * number finds nothing.
 */
#include "homefs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int node_path(struct homefs *homefs, struct node *node, char path[48]) {
    int fd = node_fd(&homefs->nodes, node);
    if (fd < 0)
        return fd;
    snprintf(path, 48, "self/fd/%d", fd);
    return 0;
}

int node_open(struct homefs *homefs, struct node *node, int flags) {
    char name[16];
    int source = node_fd(&homefs->nodes, node);
    if (source < 0)
        return source;
    snprintf(name, sizeof name, "%d", source);
    flags |= O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = openat(homefs->descriptors, name, flags);
    if (fd < 0 && errno == EPERM && flags & O_NOATIME)
        fd = openat(homefs->descriptors, name, flags & ~O_NOATIME);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && nodes_shrink(&homefs->nodes)) {
        source = node_fd(&homefs->nodes, node);
        if (source < 0)
            return source;
        snprintf(name, sizeof name, "%d", source);
        fd = openat(homefs->descriptors, name, flags);
    }
    return fd < 0 ? -errno : fd;
}

static int make_room(struct handles *handles) {
    if (handles->first_free)
        return 0;
    if (handles->count == handles->room) {
        uint32_t room = handles->room ? 2 * handles->room : 64;
        struct handle *all = room <= HANDLES_MOST ? realloc(handles->all, room * sizeof *all) : NULL;
        if (!all)
            return -ENFILE;
        handles->all = all;
        handles->room = room;
    }
    handles->all[handles->count] = (struct handle){.fd = -1, .generation = handles->first_generation};
    handles->first_free = ++handles->count;
    return 0;
}

int handle_new(struct homefs *homefs, int slot, struct node *node, int fd, bool directory, int flags, uint64_t *fh) {
    struct handles *handles = &homefs->handles;
    int result = make_room(handles);
    if (result) {
        close(fd);
        return result;
    }
    uint32_t index = handles->first_free - 1;
    struct handle *handle = &handles->all[index];
    handles->first_free = handle->next_free;
    *handle = (struct handle){.fd = fd, .generation = handle->generation + 1, .node = node, .directory = directory};
    handle->holds[slot] = 1;
    node_pin(&homefs->nodes, node);
    *fh = (uint64_t)handle->generation << 32 | index;
    journal_open(&homefs->journal, *fh, node, flags, directory);
    return 0;
}

void handle_put_back(struct homefs *homefs, int slot, struct node *node, int fd, bool directory, uint64_t fh,
                     uint32_t holds) {
    struct handles *handles = &homefs->handles;
    uint32_t index = (uint32_t)fh;
    while (index < HANDLES_MOST && handles->count <= index) {
        /* Places below it that stay free are given out later. */
        uint32_t before = handles->first_free;
        handles->first_free = 0;
        if (make_room(handles)) {
            handles->first_free = before;
            break;
        }
        handles->all[handles->count - 1].next_free = before;
    }
    if (index >= handles->count || handles->all[index].fd >= 0) {
        close(fd);
        return;
    }
    for (uint32_t *link = &handles->first_free; *link; link = &handles->all[*link - 1].next_free) {
        if (*link == index + 1) {
            *link = handles->all[index].next_free;
            break;
        }
    }
    struct handle *handle = &handles->all[index];
    *handle = (struct handle){.fd = fd, .generation = (uint32_t)(fh >> 32), .node = node, .directory = directory};
    handle->position = directory ? -1 : 0;
    handle->holds[slot] = holds;
    node_pin(&homefs->nodes, node);
}

static void write_holds(struct homefs *homefs, const struct handle *handle) {
    uint64_t fh = (uint64_t)handle->generation << 32 | (uint32_t)(handle - homefs->handles.all);
    journal_holds(&homefs->journal, fh, handle->holds[0] + handle->holds[1]);
}

static struct handle *find(struct homefs *homefs, uint64_t fh) {
    uint32_t index = (uint32_t)fh;
    if (index >= homefs->handles.count)
        return NULL;
    struct handle *handle = &homefs->handles.all[index];
    return handle->fd >= 0 && handle->generation == fh >> 32 ? handle : NULL;
}

struct handle *handle_get(struct homefs *homefs, int slot, uint64_t fh) {
    struct handle *handle = find(homefs, fh);
    return handle && handle->holds[slot] > 0 ? handle : NULL;
}

static void close_if_free(struct homefs *homefs, struct handle *handle) {
    write_holds(homefs, handle);
    if (handle->holds[0] || handle->holds[1])
        return;
    close(handle->fd);
    handle->fd = -1;
    handle->next_free = homefs->handles.first_free;
    homefs->handles.first_free = (uint32_t)(handle - homefs->handles.all) + 1;
    node_unpin(&homefs->nodes, handle->node);
}

void handle_release(struct homefs *homefs, int slot, uint64_t fh) {
    struct handle *handle = handle_get(homefs, slot, fh);
    if (!handle)
        return;
    handle->holds[slot]--;
    close_if_free(homefs, handle);
}

void handles_end_session(struct homefs *homefs, int slot) {
    homefs->sessions[slot].adopt_node = NULL;
    for (uint32_t i = 0; i < homefs->handles.count; i++) {
        struct handle *handle = &homefs->handles.all[i];
        if (handle->fd < 0 || !handle->holds[slot])
            continue;
        handle->holds[slot] = 0;
        close_if_free(homefs, handle);
    }
}

void handles_free(struct homefs *homefs) {
    for (int slot = 0; slot < HOMEFS_SESSIONS; slot++)
        handles_end_session(homefs, slot);
    free(homefs->handles.all);
}

/* The next open of this node is answered with a handle that another session has; held from now on, so that it is still
 * there then. */
int op_adopt(struct request *request) {
    struct session_files *session = &request->homefs->sessions[request->slot];
    uint64_t fh;
    if (!take(request, &fh, sizeof fh))
        return -EINVAL;
    struct handle *handle = find(request->homefs, fh);
    if (!handle || handle->node != request->node)
        return -ENOENT;
    if (session->adopt_node)
        handle_release(request->homefs, request->slot, session->adopt_fh);
    handle->holds[request->slot]++;
    write_holds(request->homefs, handle);
    session->adopt_node = handle->node;
    session->adopt_fh = fh;
    return 0;
}
