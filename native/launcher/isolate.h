/* SPDX-License-Identifier: Apache-2.0
 *
 * A node of a one-machine cluster: its own files, process list and host name.
 */
#ifndef SKEIND_ISOLATE_H
#define SKEIND_ISOLATE_H

#include "supervise.h"

/* Run supervise() in new namespaces. Returns the exit status in the outer process; by then all inside is dead. */
int isolate(struct launcher *launcher);

#endif
