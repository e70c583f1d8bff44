/* SPDX-License-Identifier: Apache-2.0
 *
 * What home's file system looks like to the kernels that mounted it: numbered nodes, known by device and inode.
 */
#ifndef SKEIN_HOMEFS_NODES_H
#define SKEIN_HOMEFS_NODES_H

#include "homefs.h"
#include "journal.h"
#include <sys/stat.h>
#include <time.h>

#define NODES_MOST (4u << 20)
#define NODES_PATH_FDS 768 /* O_PATH descriptors kept for nodes that nothing pins */
#define NODES_ROOT 1       /* FUSE_ROOT_ID */

/* How a file was when a session last opened or closed it. */
struct node_seen {
    bool valid;
    int64_t size;
    struct timespec mtime, ctime;
};

struct node {
    uint64_t id;
    dev_t dev;
    ino_t ino;
    uint64_t mount;
    uint16_t kind; /* S_IFMT */
    uint16_t mode; /* a watched directory's mode, uid and gid */
    uint32_t uid, gid;
    struct timespec birth;
    struct node *parent; /* NULL: the root */
    char *name;          /* in `parent` */
    uint64_t lookups[HOMEFS_SESSIONS];
    uint32_t children, handles; /* nodes whose parent this is; open handles: both keep it */
    int path_fd;                /* O_PATH, or -1 */
    struct node *newer, *older; /* in the list of those with a path_fd that may go */
    struct node *next_by_id, *next_by_inode;
    struct node_seen seen[HOMEFS_SESSIONS];
    uint64_t told[HOMEFS_SESSIONS];     /* what attributes the kernel may hold, as one number; 0: none */
    int watch;                          /* a directory's inotify watch, or 0 */
    int64_t listed_ms[HOMEFS_SESSIONS]; /* when a session last listed it from the start, watched; 0: never */
    int64_t watched_ms;                 /* when something in it was last to be believed for long */
    struct node *next_by_watch;
    bool never_watch;
    bool stale; /* its inode number belongs to another file by now */
};

struct nodes {
    struct node **by_id, **by_inode;
    size_t buckets, count, path_fds;
    uint64_t next_id;
    struct node *newest, *oldest;
    struct node *root;
    struct journal *journal;
    struct watches *watches; /* told of directories that go; may be NULL */
    dev_t devices[256];      /* seen so far: [0] is the root's */
    unsigned device_count;
};

int nodes_init(struct nodes *nodes, int root);
void nodes_free(struct nodes *nodes);
struct node *nodes_get(const struct nodes *nodes, uint64_t id);

/* The descriptor (O_PATH) of a node: opened again by walking from an ancestor when it has none. It may be closed by
 * the next call of anything here for another node, unless that one is its child. -errno: -ESTALE when something else
 * is there by now. */
int node_fd(struct nodes *nodes, struct node *node);
/* What `name` in `parent` is. *node is new or known; a reference is not counted. 0 or -errno. */
int nodes_lookup(struct nodes *nodes, struct node *parent, const char *name, struct node **node, struct statx *status);
/* The node that is there now, if it is known: 0, else -errno. Nothing is opened but the directory. */
int nodes_known(struct nodes *nodes, struct node *parent, const char *name, struct node **node, struct statx *status);
/* What is at `name` has come there by a rename. */
void nodes_moved(struct nodes *nodes, struct node *parent, const char *name);
void node_pin(struct nodes *nodes, struct node *node);
void node_unpin(struct nodes *nodes, struct node *node);
/* Take back references; a node that nobody knows any more goes. */
void node_forget(struct nodes *nodes, struct node *node, int slot, uint64_t count);
void nodes_forget_session(struct nodes *nodes, int slot);
/* Attributes of the node. 0 or -errno. */
int node_status(struct nodes *nodes, struct node *node, struct statx *status);
/* The node has had this number for a kernel before. */
void nodes_renumber(struct nodes *nodes, struct node *node, uint64_t id);
/* A number for the inode that is unique in the whole mount. */
uint64_t nodes_inode(struct nodes *nodes, dev_t dev, ino_t ino);
/* Room for descriptors: closes half of those that may go. False when there are none. */
bool nodes_shrink(struct nodes *nodes);

#endif
