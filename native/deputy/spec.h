/* SPDX-License-Identifier: Apache-2.0
 *
 * The task's specification: what DP_WELCOME carries (native/common/protocol.h).
 */
#ifndef SKEIN_SPEC_H
#define SKEIN_SPEC_H

#include "../common/mp.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <termios.h>

struct spec_terminal {
    unsigned terminals, closed; /* bits 0..2 */
    const struct termios *termios;
    const struct winsize *winsize;
};

/* The parts that a detached task's start carries too: argv, env, cwd, umask, nice. */
int spec_add_command(struct mp_packer *packer, char *const *command);
/* The whole map from this process's own state and `terminal`; argv and the like from `detached` when it is given,
 * else from this process and `command`. *bytes is fresh memory. 0 or -errno (-E2BIG: more than a message holds). */
int spec_make(char *const *command, const msgpack_object *detached, const struct spec_terminal *terminal, void **bytes,
              size_t *length);

#endif
