/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A node is an inode at home that a kernel knows: mount, device and inode number find it, so that
 * two links of one file are one node and both sessions share it (but a directory that is bound to a second place is
 * two: a kernel allows a directory one name only). It remembers one place (parent and name) where it was
 * last seen. To work on it an O_PATH descriptor is needed, which pins the inode whatever happens to its name; a bounded
 * number of them is kept, the least recently used is closed first, and a node without one is found by walking down
 * from its nearest ancestor that has one. If something else is at its name by then, the answer is ESTALE, and the
 * kernel looks the path up again. Nodes with open handles keep theirs, so that deleted files go on.
 *
 * An inode number may come back for another file once nothing pins the old one. The time of birth tells them apart; the
 * old node then stays as a stale one until the kernel forgets it.
 */
#include "nodes.h"
#include "watches.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FIRST_BUCKETS 4096
#define WANTED (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
#define DEEPEST 4096

/* --- tables ------------------------------------------------------------------------------------------------------- */

static size_t hash(uint64_t a, uint64_t b, size_t buckets) {
    uint64_t mixed = (a ^ (b * 0x9e3779b97f4a7c15ull)) * 0xbf58476d1ce4e5b9ull;
    return (size_t)(mixed >> 20) & (buckets - 1);
}

static void insert(struct nodes *nodes, struct node *node) {
    size_t at = hash(node->id, 0, nodes->buckets);
    node->next_by_id = nodes->by_id[at];
    nodes->by_id[at] = node;
    if (node->stale)
        return;
    at = hash(node->ino, node->dev ^ node->mount << 40, nodes->buckets);
    node->next_by_inode = nodes->by_inode[at];
    nodes->by_inode[at] = node;
}

static void remove_inode(struct nodes *nodes, struct node *node) {
    struct node **link = &nodes->by_inode[hash(node->ino, node->dev ^ node->mount << 40, nodes->buckets)];
    while (*link && *link != node)
        link = &(*link)->next_by_inode;
    if (*link)
        *link = node->next_by_inode;
}

static void remove_id(struct nodes *nodes, struct node *node) {
    struct node **link = &nodes->by_id[hash(node->id, 0, nodes->buckets)];
    while (*link && *link != node)
        link = &(*link)->next_by_id;
    if (*link)
        *link = node->next_by_id;
}

/* Twice the buckets once there is one node for each; without memory it only gets slower. */
static void grow(struct nodes *nodes) {
    struct nodes before = *nodes;
    if (nodes->count < nodes->buckets)
        return;
    struct node **by_id = calloc(2 * nodes->buckets, sizeof *by_id);
    struct node **by_inode = calloc(2 * nodes->buckets, sizeof *by_inode);
    if (!by_id || !by_inode) {
        free(by_id);
        free(by_inode);
        return;
    }
    nodes->by_id = by_id;
    nodes->by_inode = by_inode;
    nodes->buckets *= 2;
    for (size_t i = 0; i < before.buckets; i++) {
        for (struct node *node = before.by_id[i], *next; node; node = next) {
            next = node->next_by_id;
            insert(nodes, node);
        }
    }
    free(before.by_id);
    free(before.by_inode);
}

struct node *nodes_get(const struct nodes *nodes, uint64_t id) {
    struct node *node = nodes->by_id[hash(id, 0, nodes->buckets)];
    while (node && node->id != id)
        node = node->next_by_id;
    return node;
}

static dev_t device_of(const struct statx *status) {
    return makedev(status->stx_dev_major, status->stx_dev_minor);
}

static struct node *find_inode(const struct nodes *nodes, const struct statx *status) {
    dev_t dev = device_of(status);
    struct node *node = nodes->by_inode[hash(status->stx_ino, dev ^ status->stx_mnt_id << 40, nodes->buckets)];
    while (node && (node->ino != status->stx_ino || node->dev != dev || node->mount != status->stx_mnt_id))
        node = node->next_by_inode;
    return node;
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static bool may_lose_fd(const struct node *node) {
    return node->path_fd >= 0 && node->handles == 0 && node->parent != NULL;
}

static void list_remove(struct nodes *nodes, struct node *node) {
    if (node->newer)
        node->newer->older = node->older;
    else if (nodes->newest == node)
        nodes->newest = node->older;
    else
        return; /* not in it */
    if (node->older)
        node->older->newer = node->newer;
    else
        nodes->oldest = node->newer;
    node->newer = node->older = NULL;
    nodes->path_fds--;
}

static void list_add(struct nodes *nodes, struct node *node) {
    node->older = nodes->newest;
    node->newer = NULL;
    if (nodes->newest)
        nodes->newest->newer = node;
    else
        nodes->oldest = node;
    nodes->newest = node;
    nodes->path_fds++;
}

static void close_fd(struct nodes *nodes, struct node *node) {
    list_remove(nodes, node);
    if (node->path_fd >= 0)
        close(node->path_fd);
    node->path_fd = -1;
}

static void used(struct nodes *nodes, struct node *node) {
    if (!may_lose_fd(node) || nodes->newest == node)
        return;
    list_remove(nodes, node);
    list_add(nodes, node);
}

bool nodes_shrink(struct nodes *nodes) {
    size_t wanted = (nodes->path_fds + 1) / 2; /* the newest stays: the caller holds it */
    if (nodes->path_fds <= wanted)
        return false;
    while (nodes->path_fds > wanted)
        close_fd(nodes, nodes->oldest);
    return true;
}

static void keep_bound(struct nodes *nodes) {
    while (nodes->path_fds > NODES_PATH_FDS && nodes->oldest)
        close_fd(nodes, nodes->oldest);
}

static void give_fd(struct nodes *nodes, struct node *node, int fd) {
    if (node->path_fd >= 0) {
        close(fd);
    } else {
        node->path_fd = fd;
        if (may_lose_fd(node))
            list_add(nodes, node);
    }
    used(nodes, node);
    keep_bound(nodes);
}

static int open_path(struct nodes *nodes, int directory, const char *name) {
    int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && nodes_shrink(nodes))
        fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int status_of(int fd, struct statx *status) {
    return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, WANTED, status) ? -errno : 0;
}

static bool is_same(const struct node *node, const struct statx *status) {
    return node->ino == status->stx_ino && node->dev == device_of(status) && node->mount == status->stx_mnt_id &&
           node->kind == (status->stx_mode & S_IFMT) &&
           (!(status->stx_mask & STATX_BTIME) ||
            (node->birth.tv_sec == status->stx_btime.tv_sec && node->birth.tv_nsec == (long)status->stx_btime.tv_nsec));
}

/* One step: the node from its parent's descriptor. */
static int descend(struct nodes *nodes, struct node *node) {
    struct statx status;
    int fd = open_path(nodes, node->parent->path_fd, node->name);
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
    int result = status_of(fd, &status);
    if (!result && !is_same(node, &status))
        result = -ESTALE;
    if (result) {
        close(fd);
        return result;
    }
    give_fd(nodes, node, fd);
    return 0;
}

int node_fd(struct nodes *nodes, struct node *node) {
    if (node->path_fd >= 0) {
        used(nodes, node);
        return node->path_fd;
    }
    if (node->stale)
        return -ESTALE;
    struct node *chain[DEEPEST];
    size_t depth = 0;
    for (struct node *at = node; at->path_fd < 0; at = at->parent) {
        if (depth == DEEPEST)
            return -ENAMETOOLONG;
        chain[depth++] = at;
    }
    while (depth > 0) {
        struct node *at = chain[--depth];
        /* A walk longer than the list of descriptors has closed its own ancestor: it can't, the list is longer. */
        int result = at->parent->path_fd >= 0 ? descend(nodes, at) : -ESTALE;
        if (result)
            return result;
    }
    return node->path_fd;
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static bool may_go(const struct node *node) {
    return node->parent && node->children == 0 && node->handles == 0 && node->lookups[0] == 0 && node->lookups[1] == 0;
}

static void release(struct nodes *nodes, struct node *node) {
    while (may_go(node)) {
        struct node *parent = node->parent;
        watch_end(nodes->watches, node);
        if (nodes->journal)
            journal_forget(nodes->journal, node);
        close_fd(nodes, node);
        remove_id(nodes, node);
        if (!node->stale)
            remove_inode(nodes, node);
        free(node->name);
        free(node);
        nodes->count--;
        parent->children--;
        node = parent;
    }
}

static bool is_below(const struct node *node, const struct node *ancestor) {
    while (node && node != ancestor)
        node = node->parent;
    return node != NULL;
}

/* The node is (also) there. */
static int set_place(struct nodes *nodes, struct node *node, struct node *parent, const char *name) {
    if (!node->parent || (node->parent == parent && !strcmp(node->name, name)))
        return 0;
    if (is_below(parent, node))
        return 0; /* a bind mount of an ancestor: it keeps its first place */
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    struct node *before = node->parent;
    free(node->name);
    node->name = copy;
    node->parent = parent;
    parent->children++;
    before->children--;
    if (nodes->journal)
        journal_node(nodes->journal, node);
    release(nodes, before);
    return 0;
}

static struct node *make(struct nodes *nodes, struct node *parent, const char *name, const struct statx *status) {
    if (nodes->count >= NODES_MOST)
        return NULL;
    struct node *node = calloc(1, sizeof *node);
    char *copy = name ? strdup(name) : NULL;
    if (!node || (name && !copy)) {
        free(node);
        free(copy);
        return NULL;
    }
    node->id = nodes->next_id++;
    node->dev = device_of(status);
    node->ino = status->stx_ino;
    node->mount = status->stx_mnt_id;
    node->kind = status->stx_mode & S_IFMT;
    node->birth = (struct timespec){status->stx_btime.tv_sec, status->stx_btime.tv_nsec};
    node->parent = parent;
    node->name = copy;
    node->path_fd = -1;
    if (parent)
        parent->children++;
    grow(nodes);
    insert(nodes, node);
    nodes->count++;
    if (nodes->journal)
        journal_node(nodes->journal, node);
    return node;
}

void nodes_renumber(struct nodes *nodes, struct node *node, uint64_t id) {
    remove_id(nodes, node);
    remove_inode(nodes, node);
    node->id = id;
    insert(nodes, node);
}

int nodes_lookup(struct nodes *nodes, struct node *parent, const char *name, struct node **out, struct statx *status) {
    int directory = node_fd(nodes, parent);
    if (directory < 0)
        return directory;
    int fd = open_path(nodes, directory, name);
    if (fd < 0)
        return fd;
    int result = status_of(fd, status);
    if (result) {
        close(fd);
        return result;
    }
    struct node *node = find_inode(nodes, status);
    if (node && node->parent && !is_same(node, status)) {
        remove_inode(nodes, node);
        close_fd(nodes, node);
        node->stale = true;
        node = NULL;
    }
    if (!node)
        node = make(nodes, parent, name, status);
    else
        result = set_place(nodes, node, parent, name);
    if (!node || result) {
        close(fd);
        return node ? result : -ENOMEM;
    }
    give_fd(nodes, node, fd);
    *out = node;
    return 0;
}

int nodes_known(struct nodes *nodes, struct node *parent, const char *name, struct node **node, struct statx *status) {
    int directory = node_fd(nodes, parent);
    if (directory < 0)
        return directory;
    if (statx(directory, name, AT_SYMLINK_NOFOLLOW, WANTED, status))
        return -errno;
    *node = find_inode(nodes, status);
    return *node && is_same(*node, status) ? 0 : -ENOENT;
}

void nodes_moved(struct nodes *nodes, struct node *parent, const char *name) {
    struct node *node;
    struct statx status;
    if (nodes_known(nodes, parent, name, &node, &status) == 0)
        (void)set_place(nodes, node, parent, name); /* without memory it is found by its next lookup */
}

void node_pin(struct nodes *nodes, struct node *node) {
    list_remove(nodes, node);
    node->handles++;
}

void node_unpin(struct nodes *nodes, struct node *node) {
    node->handles--;
    if (may_lose_fd(node))
        list_add(nodes, node);
    keep_bound(nodes);
    release(nodes, node);
}

void node_forget(struct nodes *nodes, struct node *node, int slot, uint64_t count) {
    node->lookups[slot] = count < node->lookups[slot] ? node->lookups[slot] - count : 0;
    release(nodes, node);
}

void nodes_forget_session(struct nodes *nodes, int slot) {
    for (size_t i = 0; i < nodes->buckets; i++) {
        for (struct node *node = nodes->by_id[i]; node; node = node->next_by_id) {
            node->seen[slot].valid = false;
            node->told[slot] = 0;
            node->listed_ms[slot] = 0;
            node->lookups[slot] = 0;
        }
    }
    for (size_t i = 0; i < nodes->buckets; i++) {
        struct node *node = nodes->by_id[i];
        while (node) {
            if (may_go(node)) {
                release(nodes, node); /* and perhaps ancestors, also of this chain: begin it again */
                node = nodes->by_id[i];
            } else {
                node = node->next_by_id;
            }
        }
    }
}

int node_status(struct nodes *nodes, struct node *node, struct statx *status) {
    int fd = node_fd(nodes, node);
    return fd < 0 ? fd : status_of(fd, status);
}

uint64_t nodes_inode(struct nodes *nodes, dev_t dev, ino_t ino) {
    unsigned at = 0;
    while (at < nodes->device_count && nodes->devices[at] != dev)
        at++;
    if (at == nodes->device_count && at < sizeof nodes->devices / sizeof *nodes->devices)
        nodes->devices[nodes->device_count++] = dev;
    return ino ^ ((uint64_t)at << 52);
}

int nodes_init(struct nodes *nodes, int root) {
    struct statx status;
    memset(nodes, 0, sizeof *nodes);
    nodes->next_id = NODES_ROOT;
    nodes->buckets = FIRST_BUCKETS;
    nodes->by_id = calloc(nodes->buckets, sizeof *nodes->by_id);
    nodes->by_inode = calloc(nodes->buckets, sizeof *nodes->by_inode);
    int result = nodes->by_id && nodes->by_inode ? status_of(root, &status) : -ENOMEM;
    if (result)
        return result;
    nodes->root = make(nodes, NULL, NULL, &status);
    if (!nodes->root)
        return -ENOMEM;
    nodes->devices[nodes->device_count++] = nodes->root->dev;
    nodes->root->path_fd = fcntl(root, F_DUPFD_CLOEXEC, 3);
    return nodes->root->path_fd < 0 ? -errno : 0;
}

void nodes_free(struct nodes *nodes) {
    for (size_t i = 0; nodes->by_id && i < nodes->buckets; i++) {
        for (struct node *node = nodes->by_id[i], *next; node; node = next) {
            next = node->next_by_id;
            if (node->path_fd >= 0)
                close(node->path_fd);
            free(node->name);
            free(node);
        }
    }
    free(nodes->by_id);
    free(nodes->by_inode);
}
