/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_ENTER_H
#define SKEIN_ENTER_H

#include <stdbool.h>
#include <stddef.h>

/* Move this process (single-threaded) into the namespaces of the node whose folder `state` is: user, mounts and host
 * name, and with `with_pid` also the pids, which only holds for children made afterwards. Does nothing where the node
 * has no namespaces of its own or they are already these. The working directory stays the same by path.
 * 0, or -errno after having put a line without newline that tells what to do into `problem`:
 *   -ESRCH the node is not running, -EPERM it belongs to another user, -ENOENT the working directory is not there */
int enter_node_explained(const char *state, bool with_pid, char *problem, size_t room);
/* The same; the line goes to standard error. */
int enter_node(const char *state, bool with_pid);

#endif
