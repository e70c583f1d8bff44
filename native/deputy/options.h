/* SPDX-License-Identifier: Apache-2.0
 *
 * What is typed: runon [-d] [--stay] [--name S] NODE [--] cmd args…
 */
#ifndef SKEIN_OPTIONS_H
#define SKEIN_OPTIONS_H

#include <stdbool.h>

struct options {
    bool detach, stay, deputy; /* deputy: started by skeind for a detached task */
    const char *name, *node;
    char **command; /* ends with NULL */
};

/* Exit status to end with at once, or -1 to go on. What is wrong (or help) has been printed. */
int options_read(int count, char **arguments, struct options *options);

#endif
