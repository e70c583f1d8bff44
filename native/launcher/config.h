/* SPDX-License-Identifier: Apache-2.0
 *
 * What the launcher needs of skein.conf (docs/protocol.md, section 1).
 */
#ifndef SKEIND_CONFIG_H
#define SKEIND_CONFIG_H

#include <limits.h>
#include <stddef.h>

#define CONFIG_MAX_NODES 65535

struct config {
    char path[PATH_MAX];  /* absolute */
    char state[PATH_MAX]; /* absolute; the folder of the file when it does not say */
    int node;             /* 1 … CONFIG_MAX_NODES */
    int isolate;          /* nodes on this machine, or 0: this machine is the node */
};

/* Read and check the file. 0, or -errno with a line of explanation in `problem`. Keys of the agent's are passed over.
 */
int config_read(const char *path, struct config *config, char *problem, size_t room);

#endif
