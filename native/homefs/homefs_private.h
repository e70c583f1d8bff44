/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of homefs share.
 */
#ifndef SKEIN_HOMEFS_PRIVATE_H
#define SKEIN_HOMEFS_PRIVATE_H

#include "nodes.h"
#include "watches.h"
#include <linux/fuse.h>
#include <sys/types.h>

#define HANDLES_MOST (1u << 20)

/* An open file or directory of home. */
struct handle {
    int fd; /* -1: free */
    uint32_t generation;
    struct node *node;
    bool directory;
    uint32_t holds[HOMEFS_SESSIONS]; /* opens that were answered with it */
    off_t position;                  /* directories: where getdents64 goes on */
    uint32_t next_free;
};

struct handles {
    struct handle *all;
    uint32_t count, room, first_free; /* first_free: index + 1; 0: none */
    uint32_t first_generation;
};

struct session_files {
    bool begun, writable;
    struct node *adopt_node; /* the next open of this node is answered with adopt_fh; it is held meanwhile */
    uint64_t adopt_fh;
};

struct homefs {
    struct homefs_config config;
    struct nodes nodes;
    struct journal journal;
    struct handles handles;
    struct session_files sessions[HOMEFS_SESSIONS];
    int descriptors; /* /proc/self/fd */
};

/* One request while it is worked on. */
struct request {
    struct homefs *homefs;
    int slot;
    struct fuse_in_header in;
    const uint8_t *body; /* what follows the header */
    size_t length;
    uint8_t *out; /* of the reply: what follows its header */
    size_t room, out_length;
    struct node *node; /* in.nodeid */
    struct own_changes own;
};

/* An operation: 0 or -errno. */
typedef int operation(struct request *request);
operation op_lookup, op_getattr, op_setattr, op_readlink, op_symlink, op_mknod, op_mkdir, op_unlink, op_rmdir,
    op_rename, op_rename2, op_link, op_open, op_read, op_write, op_statfs, op_release, op_fsync, op_setxattr,
    op_getxattr, op_listxattr, op_removexattr, op_opendir, op_readdir, op_readdirplus, op_releasedir, op_fsyncdir,
    op_access, op_create, op_fallocate, op_copy_file_range, op_lseek, op_adopt;

/* request.c: a name in `directory` will change by this request */
void own_change(struct request *request, const struct node *directory, const char *name, uint32_t event);
/* reading the body, each false when it is too short or malformed */
bool take(struct request *request, void *to, size_t length);
/* A file name: not empty, no slash, neither `.` nor `..`; how long it may be, home's kernel knows. */
bool take_name(struct request *request, const char **name);
/* Any text with its end byte. */
bool take_text(struct request *request, const char **text);
void put(struct request *request, const void *bytes, size_t length);

/* attributes.c */
void attributes_of(struct homefs *homefs, const struct statx *status, struct fuse_attr *attr);
/* Count a reference and fill the entry that answers for it, found in request->node. */
void entry_of(struct request *request, struct node *node, const struct statx *status, struct fuse_entry_out *entry);
int reply_entry(struct request *request, struct node *parent, const char *name);

/* handles.c */
/* `flags`: those that it would be opened with again. */
int handle_new(struct homefs *homefs, int slot, struct node *node, int fd, bool directory, int flags, uint64_t *fh);
/* One that a deputy before this one had given out. */
void handle_put_back(struct homefs *homefs, int slot, struct node *node, int fd, bool directory, uint64_t fh,
                     uint32_t holds);
struct handle *handle_get(struct homefs *homefs, int slot, uint64_t fh);
void handle_release(struct homefs *homefs, int slot, uint64_t fh);
void handles_end_session(struct homefs *homefs, int slot);
void handles_free(struct homefs *homefs);
/* Open a node for real use. */
int node_open(struct homefs *homefs, struct node *node, int flags);
/* The path of a node's O_PATH descriptor from config.proc, the working directory, for calls that take only paths. */
int node_path(struct homefs *homefs, struct node *node, char path[48]);

#endif
