/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may run the task.
 */
#ifndef SKEIN_EPOCH_H
#define SKEIN_EPOCH_H

#include "../common/keys.h"
#include "../common/protocol.h"
#include <stdbool.h>
#include <stdint.h>

struct epoch {
    uint32_t current; /* 0: nobody has claimed it yet */
    uint8_t claimant[DP_CLAIMANT];
    char client_public[KEY_TEXT]; /* the session key of the shepherd that holds it */
    const char *path;             /* where it is written before it is answered; NULL: memory only */
};

/* Compare and swap. 0: `claimant` holds `wanted` from now on, or held it already. -ESTALE: the task is in another's
 * hands or `wanted` is not the next epoch. Other -errno: it can't be written; nothing has changed. `changed` tells
 * whether the epoch went up. */
int epoch_claim(struct epoch *epoch, uint32_t wanted, const uint8_t claimant[DP_CLAIMANT], const char *client_public,
                bool *changed);
/* Read back what a deputy before us wrote. 0, -ENOENT when nothing was claimed, -EBADMSG. */
int epoch_load(struct epoch *epoch);

#endif
