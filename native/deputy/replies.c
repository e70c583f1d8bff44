/* SPDX-License-Identifier: Apache-2.0 */
#include "replies.h"

#include <string.h>

/* Numbers grow by two, so that consecutive ones meet in different places. */
static unsigned place(uint64_t unique) {
    return (unsigned)(unique >> 1) % REPLIES_KEPT;
}

const void *replies_find(const struct replies *replies, uint64_t unique, size_t *length) {
    unsigned at = place(unique);
    if (unique == 0 || replies->kept[at].unique != unique)
        return NULL;
    *length = replies->kept[at].length;
    return replies->kept[at].bytes;
}

void replies_keep(struct replies *replies, uint64_t unique, const void *bytes, size_t length) {
    unsigned at = place(unique);
    if (length > REPLIES_BYTES)
        return;
    replies->kept[at].unique = unique;
    replies->kept[at].length = (uint32_t)length;
    memcpy(replies->kept[at].bytes, bytes, length);
}
