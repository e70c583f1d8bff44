/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_FIND_H
#define SKEIN_FIND_H

#include <limits.h>
#include <stddef.h>

/* The node folder this command belongs to (docs/protocol.md, section 1) into `state`. 0, -ENOENT when there is none. */
int find_node(char *state, size_t room);
/* Whether something listens on <state>/agent.sock now. 0, -ENOENT, -ECONNREFUSED (an agent that died), other -errno. */
int find_agent(const char *state);

#endif
