/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories of home that are watched, so that kernels may believe for long what they were told of what is in them.
 */
#ifndef SKEIN_HOMEFS_WATCHES_H
#define SKEIN_HOMEFS_WATCHES_H

#include "nodes.h"

#define LONG_SECONDS 60 /* what is watched may be believed */
#define SHORT_SECONDS 1 /* what is not */

struct homefs;

/* A change of names that a request itself makes, at most two (a rename): its kernel knows. */
struct own_changes {
    int slot, count;
    struct own_change {
        const struct node *directory;
        const char *name;
        uint32_t event; /* IN_CREATE, IN_DELETE, IN_MOVED_FROM or IN_MOVED_TO */
    } all[4];
};

/* NULL when there can be no watches: then nothing is watched. */
struct watches *watches_new(void);
void watches_free(struct watches *watches);
int watches_fd(const struct watches *watches);

/* Watch it from now on if that can be. Before something in it is looked at that is to be believed for long. True when
 * it is watched. */
bool watch(struct homefs *homefs, struct node *directory);
/* Whether it is; from now on something in it may be believed for long again. */
bool watch_is_on(struct node *directory);
/* The node goes. */
void watch_end(struct watches *watches, struct node *directory);
/* Tell the kernels what has changed, but for what is in `own` (may be NULL; it is used up). */
void watches_tell(struct homefs *homefs, struct own_changes *own);
/* A session lists it from the start; whether what it is told of the names in it may still be believed when it is opened
 * again. */
void directory_listed(struct node *directory, int slot);
bool directory_is_known(const struct node *directory, int slot);
/* A session may have missed notifications: let it ask again. */
void watches_recall(struct homefs *homefs, int slot);

/* The kernel of a session gets to know these attributes. */
void node_told(struct node *node, int slot, const struct statx *status);
/* The kernel of a session may hold attributes that are not these: it is told. */
void node_check(struct homefs *homefs, struct node *node, int slot, const struct statx *status);

#endif
