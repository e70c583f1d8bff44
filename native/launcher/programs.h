/* SPDX-License-Identifier: Apache-2.0
 *
 * The native programs that the launcher starts, held open.
 */
#ifndef SKEIND_PROGRAMS_H
#define SKEIND_PROGRAMS_H

#include <limits.h>

struct programs {
    char agent[PATH_MAX]; /* path of the agent's main.js */
    int runon, shepherd;  /* descriptors to execute; -1 where not built */
    int restorer;         /* inherited by shepherds, which execute it inside capsules; -1 where not built */
};

/* Find and open them beside this executable. 0 or -errno. */
int programs_open(struct programs *programs);

#endif
