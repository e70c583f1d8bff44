/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers that may be asked for again.
 */
#ifndef SKEIN_REPLIES_H
#define SKEIN_REPLIES_H

#include <stddef.h>
#include <stdint.h>

#define REPLIES_KEPT 1024 /* more than a shepherd has under way */
#define REPLIES_BYTES 256

/* Theory of operation. A shepherd whose connection broke sends again what was not answered. A request that has been
 * done must not be done twice (mkdir would fail, rename would too, an open would leak), so the answers of the last
 * requests are kept by their number, which a kernel uses once. Longer answers are those of reads, which may be done
 * again. */
struct replies {
    struct {
        uint64_t unique;
        uint32_t length;
        uint8_t bytes[REPLIES_BYTES];
    } kept[REPLIES_KEPT];
};

/* NULL when it was not answered, or too long ago. */
const void *replies_find(const struct replies *replies, uint64_t unique, size_t *length);
void replies_keep(struct replies *replies, uint64_t unique, const void *bytes, size_t length);

#endif
