/* SPDX-License-Identifier: Apache-2.0
 *
 * The capsule's first process.
 */
#ifndef SKEIN_INIT_H
#define SKEIN_INIT_H

/* Serve the shepherd on `socket` until it is gone. `restorer` is a descriptor of that program. Never returns. */
_Noreturn void init_main(int socket, int restorer);

/* init_mounts.c: build the task's file tree around the FUSE mount. `sent`: tell the shepherd of /dev/fuse. */
struct capsule_identity;
int init_mounts(int socket, const struct capsule_identity *identity, const char **step);

#endif
